"""What can be chosen, and the reason where something can't be."""

from dataclasses import replace

from hfnb.machine import Device, Devices, Missing
from hfnb.panel import choices
from hfnb.panel.choices import Option
from hfnb.panel.state import Choice, State
from tests.panel.made import CPU, EXPORTED, ready


def by_value(options: list[Option]) -> dict[str, str]:
    """Return why each option can't be chosen."""
    return {each.value: each.why_not for each in options}


def test_all_but_accelerators_can_be_chosen_before_anything_is_known() -> None:
    state = State(choice=Choice("some/model"))
    for options in (choices.tasks, choices.backends, choices.precisions):
        assert set(by_value(options(state)).values()) == {""}
    assert by_value(choices.devices(state)) == {"auto": "", "cpu": "", "cuda": "being looked for"}
    assert choices.why_not_load(state) == ""


def test_a_backend_that_is_not_installed_comes_with_the_line_that_installs_it() -> None:
    missing = Missing("openvino", "openvino is not installed", 'pip install "hfnb[openvino]"')
    state = replace(ready(), devices=Devices(list(CPU)[:1], [missing]))
    assert by_value(choices.backends(state)) == {
        "pytorch": "",
        "openvino": 'openvino is not installed: pip install "hfnb[openvino]"',
    }
    state = replace(state, choice=Choice("a/decoder", backend="openvino"))
    assert choices.why_not_load(state) == (
        'OpenVINO: openvino is not installed: pip install "hfnb[openvino]".'
    )


def test_an_exported_model_runs_on_openvino_in_its_own_format() -> None:
    state = replace(ready(), choice=Choice("an/export", backend="openvino"))
    assert "exported" in by_value(choices.backends(state))["pytorch"]
    formats = by_value(choices.precisions(state))
    assert {name for name, why_not in formats.items() if not why_not} == {"auto", "int8"}
    assert formats["int4"] == "an/export was exported in int8"


def test_weights_of_pytorchs_own_do_not_run_on_openvino() -> None:
    quantised = replace(EXPORTED, name="a/gptq", backends=("pytorch",))
    state = replace(ready(), here=(quantised,), choice=Choice("a/gptq"))
    assert "quantised" in by_value(choices.backends(state))["openvino"]


def test_accelerators_that_are_missing_say_why() -> None:
    assert by_value(choices.devices(ready())) == {
        "auto": "",
        "cpu": "",
        "cuda": "it is built for the CPU alone; pip install torch",
    }
    both = Devices([*CPU, Device("pytorch", "cuda:0", "A card", 1, 1)])
    assert by_value(choices.devices(replace(ready(), devices=both))) == {
        "auto": "",
        "cpu": "",
        "cuda:0": "",
    }
    openvino = replace(ready(), choice=Choice("a/decoder", backend="openvino"))
    assert by_value(choices.devices(openvino))["GPU"]


def test_eight_and_four_bits_with_pytorch_need_cuda() -> None:
    assert "need CUDA" in by_value(choices.precisions(ready()))["int8"]
    cuda = Devices([*CPU, Device("pytorch", "cuda:0", "A card", 1, 1)])
    assert by_value(choices.precisions(replace(ready(), devices=cuda)))["int8"] == ""
    assert Choice("gpt2", precision="int4").arguments() == {"weight_format": "int4"}


def test_the_same_reason_is_said_once() -> None:
    options = [Option("a", "a", "no"), Option("b", "b"), Option("c", "c", "no")]
    assert choices.reasons(options) == ["a, c: no."]


def test_models_are_offered_that_can_do_the_task() -> None:
    assert choices.model_names(ready()) == ["a/decoder", "an/export"]
    state = replace(ready(), choice=Choice(task="translation"))
    assert choices.model_names(state) == []
