"""Make what a session would else make at its first use: exports, fonts, compiled modules.

`binder/postBuild` runs it while the image is built.
"""

from __future__ import annotations

import compileall
from pathlib import Path

import hfnb

# What the notebooks load with OpenVINO.
EXPORTS = [
    ("hfnb/numbers-fr", None),
    ("hfnb/numbers-fr", "fp16"),
    ("hfnb/numbers-fr", "int8"),
    ("hfnb/numbers-fr", "int4"),
    ("hfnb/tiny-t5", None),
]


def check_pytorch() -> None:
    """End the build where PyTorch is one for CUDA: it is several GB, and a session has no GPU."""
    import torch

    if torch.version.cuda is not None:
        raise SystemExit(
            f"PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}. Binder needs the "
            "build of binder/environment.yml: pip has replaced it, so see whether its version is "
            "the one in constraints.txt."
        )


def main() -> None:
    check_pytorch()
    for model, weight_format in EXPORTS:
        hfnb.export(model, weight_format=weight_format)
    print(hfnb.exports())

    llm = hfnb.load("hfnb/numbers-fr", backend="openvino")
    print(llm.invoke("What is the number 72 in french?"))

    import matplotlib.pyplot  # noqa: F401  (it lists the machine's fonts once, in seconds)

    compileall.compile_dir(Path(hfnb.__file__).parent, quiet=1)


if __name__ == "__main__":
    main()
