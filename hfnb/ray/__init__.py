"""``hfnb.run(..., engine="ray")``: the same run on a Ray cluster, by Ray Data.

Ray Data reads, cuts, schedules, holds back and tries again; an actor holds the model, and computes
a block of rows with the code of a local run. Only this package imports Ray.

    place.py      what `hfnb.run` calls; what may be given as rows: rows.py
    options.py    how a cluster is used; cluster.py joins one or starts one
    model.py      what of a model is sent to the workers
    sizing.py     how many rows are a block
    worker.py     the actor; task.py is what it is sent, report.py what it sends back
    board.py      how far the workers are, and whether they should stop
    flow.py       a Dataset's blocks as they are finished, drawn and interrupted
    frame_run.py, parts_run.py, dataset_run.py   what becomes of them; tally.py: the figures
"""
