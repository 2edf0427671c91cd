"""Keeps the finished segments of the write-ahead log, so that any moment since a backup can be restored.

Every embedded Postgres asks a small shell script to archive each segment. The script copies to where `archiving/to`
says, and does nothing as long as there is no such file: without a backup, a log is of no use and would only grow. The
first `felix backup` writes the file. A disk that runs full removes it: the books go on, and the archive has an end
that `archiving/stopped` and every list of backups names, until the next backup.
"""

import os
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from felix.embedded.errors import DataDirUnusable
from felix.embedded.programs import Programs
from felix.embedded.workspace import Workspace

SEGMENT_BYTES = 16 * 2**20  # what initdb chooses
SEGMENTS_PER_LOG = 2**32 // SEGMENT_BYTES
#: Loss of the disk costs at most what was committed in this time; every segment of a busy minute is a file of its own.
ARCHIVE_TIMEOUT_S = 60
#: Archiving ends before the disk of the database does.
LEAVE_FREE_KIB = 2**20

#: Copied, flushed, renamed: a segment has its name once it is whole. Segments that were switched early end in zeros,
#: which become holes where `cp` can make them.
SCRIPT = """\
# Archives a segment of the write-ahead log: $1 its path, $2 its name, $3 this directory, $4 KiB to leave free.
[ -f "$3/to" ] || exit 0
IFS= read -r archive < "$3/to" || exit 1
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
case $free in
'' | *[!0-9]*) ;;
*)
    if [ "$free" -lt "$4" ]; then
        echo "felix: the disk has $free KiB left: the log archive is stopped before $2" >&2
        echo "$2" > "$3/stopped" && rm "$3/to"
        exit
    fi
    ;;
esac
if [ -e "$archive/$2" ]; then
    cmp -s "$1" "$archive/$2" && exit 0
    echo "felix: $archive/$2 is there already, and is another one" >&2
    exit 1
fi
{ cp --sparse=always "$1" "$archive/$2.partial" 2>/dev/null || cp "$1" "$archive/$2.partial"; } &&
    sync "$archive/$2.partial" && mv "$archive/$2.partial" "$archive/$2" && sync "$archive"
"""
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(?:\.partial|\.[0-9A-F]{8}\.backup)?")
_COMMIT = re.compile(r"\bdesc: COMMIT (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")


def archive_settings(data_dir: Path) -> dict[str, str]:
    """The settings of Postgres that hand every finished segment to the script."""
    home = data_dir.absolute().resolve() / "archiving"
    script, place = (shlex.quote(str(path)).replace("%", "%%") for path in (home / "archive.sh", home))
    return {
        "archive_mode": "on",
        "archive_command": f'/bin/sh {script} "%p" "%f" {place} {LEAVE_FREE_KIB}',
        "archive_timeout": f"{ARCHIVE_TIMEOUT_S}s",
        "summarize_wal": "on",
    }


def install_script(workspace: Workspace) -> None:
    """Write the script where the servers' account can read it."""
    home = workspace.private_dir(workspace.archiving_dir)
    try:
        _write(workspace, home / "archive.sh", SCRIPT)
    except OSError as error:
        raise DataDirUnusable(f"{home} can't be written: {error}", "Free the disk or mend the permissions.") from error


def start_archiving(workspace: Workspace, archive: Path) -> bool:
    """Archive to this directory from the next finished segment on; True when that was not so before."""
    if "\n" in str(archive):
        raise DataDirUnusable(f"a directory for backups can't have a line break in its name: {archive}")
    if archiving_to(workspace.data_dir) == archive:
        return False
    home = workspace.private_dir(workspace.archiving_dir)
    _write(workspace, home / "to", f"{archive}\n")
    (home / "stopped").unlink(missing_ok=True)
    return True


def stop_archiving(data_dir: Path) -> None:
    """Archive nothing from the next finished segment on."""
    (data_dir / "archiving" / "to").unlink(missing_ok=True)


def archiving_to(data_dir: Path) -> Path | None:
    """Where the segments go; None when they go nowhere."""
    said = _read(data_dir / "archiving" / "to")
    return Path(said) if said else None


def archiving_stopped_before(data_dir: Path) -> str | None:
    """The first segment that a full disk kept out of the archive; None when that never happened since a backup."""
    return _read(data_dir / "archiving" / "stopped")


def segment_name(timeline: int, number: int) -> str:
    """The name of the file that holds a segment."""
    return f"{timeline:08X}{number // SEGMENTS_PER_LOG:08X}{number % SEGMENTS_PER_LOG:08X}"


def segment_of(lsn: int) -> int:
    """The number of the segment with this place in the log."""
    return lsn // SEGMENT_BYTES


def segments_in(directory: Path, timeline: int) -> list[int]:
    """The numbers of all segments of a timeline in a directory, in order."""
    return sorted(number for path, found, number in every_segment(directory) if found == timeline and not path.suffix)


def every_segment(directory: Path) -> Iterator[tuple[Path, int, int]]:
    """Each file of an archive that belongs to a segment, whole or not: path, timeline, number."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if (named := _SEGMENT.fullmatch(path.name)) is not None:
            timeline, log, segment = (int(part, 16) for part in named.groups())
            yield path, timeline, log * SEGMENTS_PER_LOG + segment


def last_commit(programs: Programs, segment: Path) -> tuple[datetime | None, str]:
    """The moment of the last commit in a segment, if there is one, and what pg_waldump says is wrong with it."""
    said = programs.ask("pg_waldump", "--rmgr=Transaction", segment)
    found = _COMMIT.findall(said.out)
    return datetime.fromisoformat(f"{found[-1]}+00:00") if found else None, said.problem


def _write(workspace: Workspace, path: Path, text: str) -> None:
    """Write a file whole or not at all, readable for the account that runs Postgres."""
    partial = path.with_name(path.name + ".new")
    with os.fdopen(workspace.open_own(partial, os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip("\n") or None
    except FileNotFoundError:
        return None
