from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from xyt_stream.cli.server import LimitOptions
from xyt_stream.server.limits import Limits


def test_a_server_without_options_has_the_limits_of_the_library() -> None:
    assert Limits(**vars(LimitOptions())) == Limits()


def test_help_comes_without_waiting_for_torch() -> None:
    code = (
        "import sys\n"
        "from xyt_stream.cli import main\n"
        "try: main(['encode', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy', 'soundfile'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)


def test_a_user_at_a_shell(fixtures: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("xyt-stream")

    def shell(*args: object) -> subprocess.CompletedProcess[str]:
        words = [str(script), *map(str, args)]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert shell("encode", fixtures / "speech.ogg", "a.xyt").returncode == 0
    assert shell("decode", "a.xyt", "a.wav").returncode == 0
    assert (tmp_path / "a.wav").exists()
    (tmp_path / "b.wav").write_text("words")
    bad = shell("encode", "b.wav", "b.xyt")
    line = "Error: b.wav is not a sound file: give a wav, flac, ogg or mp3\n"
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "", line)
    assert shell("sing").returncode == 2
