"""Sound devices: with a real sound server where there is one, and the errors without one."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What the user's machine lacks, brought about in a process of its own.
NO_EXTRA = "import sys; sys.modules['sounddevice'] = None"
NO_PORTAUDIO = "import ctypes.util; ctypes.util.find_library = lambda name: None"


def outcome(preparation: str, statement: str, env: dict[str, str] | None = None) -> str:
    """Returns the output of a statement, or the error of this package that it ends in."""
    program = (
        f"{preparation}\n"
        "import asyncio\n"
        "from xyt_stream.errors import XYTError\n"
        "from xyt_stream.client import devices\n"
        "async def main():\n"
        f"    try: print({statement})\n"
        "    except XYTError as error: print(type(error).__name__, error)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "statement",
    ["devices.list_devices()", "devices.Microphone(None)", "devices.Loudspeaker(None, 16000)"],
)
def test_missing_library_is_named(statement):
    assert "MissingExtraError Sound devices need an extra" in outcome(NO_EXTRA, statement)
    without = outcome(NO_PORTAUDIO, statement)
    assert without.startswith("DeviceError the PortAudio library is missing")
    assert "libportaudio2" in without


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("devices.Microphone(None)", "microphone"),
        ("devices.Loudspeaker(None, 16000)", "loudspeaker"),
    ],
)
def test_missing_device_is_one_sentence(no_devices, statement, what):
    said = outcome("", statement, no_devices)
    assert said.startswith(f"DeviceError cannot open the {what}")
    assert len(said.splitlines()) == 1


def test_devices_are_found_by_name_and_number(pulse):
    listed = eval(outcome("", "devices.list_devices()", pulse))
    assert "pulse" in [name for _, name, *_ in listed]
    number = next(number for number, name, *_ in listed if name == "pulse")
    for device in ("pulse", number):
        assert "Microphone object" in outcome("", f"devices.Microphone({device!r})", pulse)
        assert "Loudspeaker object" in outcome("", f"devices.Loudspeaker({device!r}, 24000)", pulse)
    for device in ("no such thing", "9999"):
        said = outcome("", f"devices.Microphone({device!r})", pulse)
        assert said.startswith(f"DeviceError cannot open the microphone {device!r}")


SKIPPING = """
async def heard_after_a_second(first, second):
    microphone = devices.Microphone("pulse")
    blocks = microphone.blocks()
    await anext(blocks)
    await asyncio.sleep(1)
    first(microphone), second(microphone)
    return len([block async for block in blocks])
"""


def test_skip_drops_captured_blocks(pulse):
    def heard(first, second):
        steps = (f"devices.Microphone.{step}" for step in (first, second))
        return int(outcome(SKIPPING, f"await heard_after_a_second({', '.join(steps)})", pulse))

    assert heard("stop", "stop") > 0
    assert heard("skip", "stop") == heard("stop", "skip") == 0
