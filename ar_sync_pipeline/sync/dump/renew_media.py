"""Renewal of a bundle whose media files production changes while the archive is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ar_sync_pipeline.archive.file_stamp import steady_stamp
from ar_sync_pipeline.archive.member_names import folders_of
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.media.media_file import OmittedMedia
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_files import BundleFiles, bundle_files
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle, omitted_texts
from ar_sync_pipeline.sync.dump.bundled_file import Status
from ar_sync_pipeline.sync.dump.describe_media import describe_again
from ar_sync_pipeline.sync.dump.media_journal import MediaJournal, open_journal
from ar_sync_pipeline.sync.dump.select_media import WENT_AWAY
from ar_sync_pipeline.sync.dump.table_dump import TableDump

_REPLACED = "it is replaced again and again"
_NEXT_COMPLETE = "it is left to the next complete, since files change while this one is sent"
MOST_OMITTED = 100_000


def renew_bundle(build: BuildFolder, folder: Path, member: str, *, shorten: bool = False) -> bool:
    """Describe the changed files of a bundle again; remove those that no longer exist.

    If a row names a removed file, the next partial looks for it. A file that changes a second time
    is removed from the bundle as well, and reported: a file that is replaced four times a second
    would otherwise prevent the upload for ever.

    Args:
        member: Member of the archive whose file is known to have changed.
        shorten: Whether a complete leaves the files after this one to the next complete.

    Returns:
        False if the bundle has no such member.
    """
    bundle = build.read(MediaBundle)
    changed = member.removeprefix("media/")
    with bundle_files(build) as files:
        if changed == member or files.get(changed) is None:
            return False
        found = _describe_changed(files, folder, changed, bundle.renewed)
        space = MOST_OMITTED - len(bundle.omitted)
        later = _leave_to_next_complete(build, files, changed, folder, space) if shorten else []
        count, held, size_bytes = files.totals()
        # Before the files are dropped: a file that is neither listed nor omitted counts as deleted.
        with open_journal(build.path.parent) as journal:
            journal.owe(found.omitted)
            journal.keep_unresolved((), found.lost)
        changes = {
            "file_count": count,
            "size_bytes": size_bytes,
            "held": held,
            "renewed": tuple(sorted({*bundle.renewed, *found.renewed})),
            "omitted": omitted_texts(bundle.omitted, [*found.omitted, *later]),
        }
        build.save(bundle.model_copy(update=changes))
    build.sync()
    return True


@dataclass(frozen=True)
class _Changes:
    """What has become of the files of a bundle.

    Attributes:
        omitted: Files that are not sent now.
        lost: Files that rows name and that no longer exist.
        renewed: Files that were described again.
    """

    omitted: list[OmittedMedia] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    renewed: set[str] = field(default_factory=set)


def _describe_changed(
    files: BundleFiles, folder: Path, changed: str, renewed_before: Collection[str]
) -> _Changes:
    """Describe the files whose stamps differ again, and ``changed`` in any case."""
    found = _Changes()
    for before in files.listed():
        stamp = steady_stamp(folder / before.path)
        if before.path != changed and stamp is not None and stamp == before.stamp:
            continue
        now, problem = describe_again(files, before.found_in(folder))
        if problem is not None and problem.reason == WENT_AWAY and files.is_named(before.path):
            found.lost.append(before.path)
        elif problem is not None:
            found.omitted.append(problem)
        elif now is not None and (before.path == changed or now != before.described):
            found.renewed.add(before.path)
            if (now.size_bytes, now.sha256) != (before.size_bytes, before.sha256):
                files.mark([before.path], Status.CARRIED)
            if before.path in renewed_before:
                files.drop(before.path)
                found.omitted.append(OmittedMedia(before.path, _REPLACED, temporary=True))
    return found


def _leave_to_next_complete(
    build: BuildFolder, files: BundleFiles, after: str, folder: Path, space: int
) -> list[OmittedMedia]:
    """Drop a complete's carried files after a path; return those to name, or whole folders.

    They are not owed: partials, which have to be small, would carry them. Those of which the
    receiver may have an earlier version are named, or it would remove that; of the others the first
    one. Receivers read a limited number of names: if there are more, only the last files are
    dropped.

    Args:
        space: Number of names that the archive can still hold.
    """
    dump = build.read(TableDump)
    if dump.kind is ArchiveKind.PARTIAL:
        return []
    names, named, first = deque[str](maxlen=max(0, space)), 0, None
    with open_journal(build.path.parent) as journal:
        is_known = _known_to_receiver(dump, journal)
        for file in files.carried_after(after, folder):
            name = _folder_after(file.path, after) or file.path
            first = first or name
            if is_known(file.path) and (not names or names[-1] != name):
                names.append(name)
                named += 1
    if first is not None and named < space and first not in names:
        names.appendleft(first)
    if first is not None and (named <= space or names):
        files.drop_carried_from(first if named <= space else names[0])
    return [OmittedMedia(name, _NEXT_COMPLETE, temporary=True) for name in names]


def _known_to_receiver(dump: TableDump, journal: MediaJournal) -> Callable[[str], bool]:
    """Return the function that tells whether an archive has listed a path before.

    A journal that was lost since then does not tell.
    """
    has_nothing = dump.since is None and not dump.new_history and not dump.receiver_unread
    if has_nothing or (dump.since is not None and journal.has_complete_until(dump.since)):
        return journal.has_listed
    return lambda _path: True


def _folder_after(path: str, after: str) -> str | None:
    """Return the outermost folder of a path, ``name/``, that a path before it is not in."""
    folders = [f"{folder}/" for folder in folders_of(path)]
    return next((f for f in reversed(folders) if not after.startswith(f)), None)
