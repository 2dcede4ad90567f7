"""Homes of people who have logged in go; what steps have left below /home stays, and credentials there are told of."""

import subprocess
from pathlib import Path

import pytest
from support.bash_guest import FOLDER

KEY = "# Added by Google\nssh-ed25519 AAAA someone@example.com\n"
LOGIN = '{"auths": {"registry.example": {"auth": "dTpw"}}}'
HELPER = '{"credHelpers": {"gcr.io": "gcr"}}'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Stands for /home: an account of the image has its home there, and the source image has somebody's."""
    for name in ("chronos", "before/.ssh"):
        (tmp_path / "home" / name).mkdir(parents=True)
    (tmp_path / "home" / "before" / ".ssh" / "authorized_keys").write_text(KEY)
    (tmp_path / "passwd").write_text(f"root:x:0:0::/root:/bin/bash\nchronos:x:1000:1000::{tmp_path}/home/chronos:\n")
    (tmp_path / "state").mkdir()
    return tmp_path / "home"


def cleaned(home: Path) -> list[str]:
    """What is said of homes; `visitor_example_com` is an account of OS Login, as `getent` knows it."""
    script = f"""
        set -u; shopt -s nullglob dotglob globstar
        state={home.parent}/state
        say() {{ printf '%s\n' "$*"; }}
        fail() {{ say "failed: $*"; exit 1; }}
        . {FOLDER}/homes.sh
        homes_place={home} accounts={home.parent}/passwd
        getent() {{
          case $3 in
            chronos) grep ^chronos: "$accounts" ;;
            visitor_example_com) echo "$3:*:4294:4294::{home}/$3:/bin/bash" ;;
            elsewhere) echo "$3:*:4295:4295::/srv/$3:/bin/bash" ;;
            *) return 2 ;;
          esac
        }}
        record_homes
        [[ ! -e {home.parent}/steps.sh ]] || . {home.parent}/steps.sh
        record_homes
        find_homes
        rm -rf -- "${{homes[@]}}"
        tell_credentials
    """
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return [line.replace(str(home), "/home") for line in ran.stdout.splitlines()]


def left(home: Path, steps: str) -> tuple[list[str], list[str]]:
    """What is said after this, and what is below /home then that was not there before."""
    (home.parent / "steps.sh").write_text(f"cd {home}\n{steps}")
    said = cleaned(home)
    return said, sorted(path.name for path in home.iterdir() if path.name not in ("chronos", "before"))


def test_homes_of_people_go_with_what_they_have_left_there(home: Path) -> None:
    steps = f"""
        mkdir -p someone/.ssh someone/.docker visitor_example_com/.docker
        echo '{KEY}' >someone/.ssh/authorized_keys
        echo '{LOGIN}' | tee someone/.docker/config.json >visitor_example_com/.docker/config.json
    """
    assert left(home, steps) == ([], [])
    assert sorted(path.name for path in home.iterdir()) == ["before", "chronos"]


def test_what_steps_have_made_stays(home: Path) -> None:
    steps = f"""
        mkdir -p app/.ssh app/.docker elsewhere chronos/data nvidia
        echo 'ssh-ed25519 AAAA of-a-script' >app/.ssh/authorized_keys
        echo '{HELPER}' >app/.docker/config.json
        ln -s /var/lib/app link; touch file
    """
    assert left(home, steps) == ([], ["app", "elsewhere", "file", "link", "nvidia"])
    assert (home / "chronos" / "data").is_dir()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("app/.docker/config.json", LOGIN),
        (".docker/config.json", LOGIN),
        ("app/.git-credentials", "https://u:p@example.com"),
        ("app/.config/gcloud/application_default_credentials.json", '{"refresh_token": "1//x"}'),
        ("chronos/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ],
)
def test_credentials_that_steps_have_left_are_told_of_and_stay(home: Path, path: str, content: str) -> None:
    said, _ = left(home, f"mkdir -p {Path(path).parent}; echo '{content}' >{path}")
    assert said == [f"warning: /home/{path} has credentials in it, and will be in the image"]
    assert (home / path).exists()
