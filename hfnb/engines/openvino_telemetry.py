"""Switch OpenVINO's telemetry off.

OpenVINO's model converter (``openvino.tools.ovc``) and NNCF send usage data to Google Analytics
through the package ``openvino_telemetry``, and count a missing answer as consent. No environment
variable stops them; the opt-out that the package offers is a file in the user's home. Here the
package is told "declined" inside this process instead: nothing is sent, and no file is written.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

_LOCK = threading.Lock()


def opt_out() -> None:
    """Switch OpenVINO's telemetry off in this process. Call it before a model is converted.

    It may be called often, before or after OpenVINO is imported, and does nothing where the
    package ``openvino_telemetry`` is missing: then nothing can be sent.

    Example:
        >>> opt_out()
    """
    try:
        checker = importlib.import_module("openvino_telemetry.utils.opt_in_checker")
        sender = importlib.import_module("openvino_telemetry.utils.sender")
        main = importlib.import_module("openvino_telemetry.main")
    except ImportError:
        return
    declined = checker.ConsentCheckResult.DECLINED
    with _LOCK:
        # Without consent no message is made, no dialog is shown and no client id is written ...
        checker.OptInChecker.check = lambda *_args, **_options: declined
        # ... and whatever was made already, or is forced, stops here: this is the only way out.
        sender.TelemetrySender.send = _send_nothing
        made = getattr(main.Telemetry, "_SingletonMetaClass__single_instance", None)
        if made is not None:
            made.consent = False


def _send_nothing(_self: Any, *_args: Any, **_options: Any) -> None:
    """Stand in for the sender's ``send``."""
