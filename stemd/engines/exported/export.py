"""One HTDemucs' core as files that OpenVINO reads."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import torch

from stemd.engines.exported import quiet
from stemd.engines.exported.core import Core, length, opened

#: The core, the same with everything but its transformer marked to stay float32, and the weights of both.
PLAIN, MARKED, WEIGHTS = "plain.xml", "marked.xml", "weights.bin"
_TRANSFORMER = ".crosstransformer"
_NO_WORK = frozenset({"Const", "Parameter", "Result"})


def export(network: Any, folder: Path) -> None:
    """Write ``PLAIN``, ``MARKED`` and ``WEIGHTS`` of ``network`` below ``folder``.

    Raises:
        Exception: of torch or OpenVINO, of many kinds.
    """
    openvino = quiet.openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # that is one operation, which others do not know
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what depends on the length is constant here: the length is
            _, given = opened(network, torch.zeros(1, network.audio_channels, length(network)))
            trace: Any = torch.jit.trace
            traced = trace(Core(network), given, check_trace=False)
            decoder = TorchScriptPythonDecoder(traced, example_input=given)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    model.reshape({index: list(each.shape) for index, each in enumerate(given)})
    openvino.save_model(model, folder / PLAIN, compress_to_fp16=False)
    (folder / PLAIN).with_suffix(".bin").rename(folder / WEIGHTS)
    _mark(folder / PLAIN, folder / MARKED)


def _mark(plain: Path, marked: Path) -> None:
    """A copy of the graph whose operations outside the transformer keep their precision whatever is asked for."""
    tree = ET.parse(plain)  # noqa: S314 - written above
    for layer in tree.iter("layer"):
        if layer.get("type") in _NO_WORK or _TRANSFORMER in str(layer.get("name")):
            continue
        information = layer.find("rt_info")
        if information is None:
            information = ET.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, information)
        ET.SubElement(information, "attribute", name="precise", version="0")
    tree.write(marked, xml_declaration=True)
