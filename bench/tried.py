"""Where targets are missed: what was looked at and tried, and what is left. All are of 2026-11-26.

The figures in these texts were taken beside other work, old and new code in turn: they tell where
the time goes and which of two ways is the faster, and not how fast either is on a quiet machine.
"""

SHORT = """\
Missed on PyTorch (2026-11-26): twice `generate`. Three runs of that day said 1.46, 1.83 and 1.59
times; 3% beyond the engine were missed in the first two and met in the last. Of a run's 1,000 rows
most of the time is the model's own: 39 forward passes, half of it matrix products, which `generate`
has to compute too. What is ours: drawing, rendering and tokenising 0.05 s of 0.7, moving rows in
the cache 0.06, texts 0.03; the journal about 0.05 beside it. Taken since the
first recording: the 8 tokens that all chats begin with are computed once (an earlier form of
this took the engine 1.20 s in place of 1.79), rows of the cache move at once and only as far as
they are written, the text of a context is read once. All of it together was timed on the chat
alone: 256 rows took 0.94 s in place of 1.07 by the medians of 8 rounds on a loaded machine,
0.51 in place of 0.71 by the fastest. What a short prefix costs answers of hundreds of tokens
was not timed, nor larger models with one.

A part of the difference to the engine alone is where it computes: the engine alone in the main
thread, `hfnb.run` in a thread beside it. Each thread that computes has threads of OpenMP of its
own; where there are more of them than cores, libgomp lets them sleep between operators instead
of spin, and a model of 1 M parameters has thousands of short operators. A run therefore gives
the main thread's back first (`omp_pause_resource_all`): 1,000 such rows took 0.90 s in place of
1.24 by the medians of 6 rounds in turn. Only where no others keep the cores busy: beside two busy
processes on two cores, threads that spin made the same rows take 7.2 s in place of 3.4. One
thread of OpenMP is no faster (1.86 s beside 1.79).

Missed on OpenVINO (2026-11-26): openvino_genai used directly. Of a run eight to nine tenths are
GenAI's own steps, and in these its store of prefixes, which the direct use leaves off and which
few-shot prompts need, takes 0.03 s of 0.6. `step` keeps Python's lock while it computes, so nothing
of ours can go on beside it, the journal's thread included. And what goes on between steps makes the
steps themselves slower, since OpenVINO's threads go to sleep: with 3 ms of nothing between them,
the 30 steps of 1,000 rows took 0.51 s in place of 0.475. The direct use does all of its own work
before the first step and after the last, and hands out no row before all are there. Ours, in ms
per 1,000 rows: drawing, rendering and tokenising 28, handing rows over 27, looking who has ended
and reading tokens 15 (24 while first tokens were read at once after short prompts too), the texts
7, all else 20, and the journal 50. Rows and tokens of a step, by the medians of 10 rounds: 256 rows
and 1,024 tokens 0.69 s; 256 and 512, 0.72; 128 and 512, 0.74; 64 and 256, 0.92. Keys and values
(and all else) in float32, one thread, prompts that are not split: slower, all three."""

GRID = """\
Until 2026-11-26 models of 20 to 500 M parameters had 64 rows together, and hfnb's choice took 1.23
times as long as 256 rows on 128 short prompts. Since then they have up to 256 rows, as many as have
16,384 prompt tokens, and never fewer than 64. On 512 prompts of 8 to 16 tokens 256 rows took 27.6 s
and 128 rows 31.2 (medians of two); of 8 to 96 tokens 39.9 and 41.5; of 8 to 256 tokens 57.9 and
60.0. Before attention read rows in groups of as many widths as are worth it (four before), 256 rows
of mixed length were 8% slower than 128: a group read what its longest row needs for all. Long
prompts make a batch smaller because the first answer comes after the prompts of a whole batch."""

CHAT = """\
Missed (2026-11-26): what is said of the short prompts holds here too, with fewer rows. What a
run costs once is 15 to 20 ms: checks 1, the journal's new file 4 to 8, closing it 6, the result
2. A thread of the journal writes, and no row waits for it but the last. OpenVINO now decodes
all 256 rows together, in 13 steps in place of 29: 0.22 s in place of 0.27, where openvino_genai
used directly takes 0.17. Nine tenths of that are GenAI's own steps. A template is rendered in
35 µs a row on PyTorch, 22 on OpenVINO, and all rows are tokenised in one call."""

LONG = """\
Missed on PyTorch: three times LangChain's defaults, a figure that is asked of mixed lengths and is
taken here too; eight prompts of equal length leave nothing to sort. 70% of the time are matrix
products of the prompts, at 130 to 150 GFLOP/s in float32, 10% attention, 5% copies. On a quiet
machine (2026-11-26) `hfnb.run` took 14.2 and 14.7 s, its engine alone 14.3 and 15.1, sorted
`generate` 14.9 and 15.4: nothing beyond the engine. In bfloat16, which is hfnb's choice, it takes
7.9 s. A cache that need not grow made no difference here. On OpenVINO all but 1% are GenAI's own
steps; see the profile."""

OPENVINO = """\
Missed (2026-11-26): 3.5 times LangChain on OpenVINO by 4%, and three times optimum-intel by 6% in
one run and by 17% in the next. hfnb takes as long as openvino_genai used directly to within 2%, and
both are at 75 to 79% of what the machine's own matrix product would give; the section on the
profile shows where the rest goes. What a step computes was tried from 256 to 1,024 tokens (the
section on the grid): hfnb's choice is near the best. Weights in int8 take 0.9 of the time, and
answer otherwise."""
