"""A file of incidents that does not exist: whether it is yet to be made, or is not mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.alerts.errors import AlertStoreError
from ar_sync_pipeline.sync.watch.open_incidents import why_none_is_recorded


@pytest.mark.parametrize("below", ["", "receiver"])
def test_link_to_a_folder_is_no_fault_before_the_first_incident(tmp_path: Path, below: str) -> None:
    """For example a link to a disk, or to the current release."""
    (tmp_path / "disk" / below).mkdir(parents=True)
    (tmp_path / "state").symlink_to("disk")
    file = tmp_path / "state" / "receiver" / "incidents.sqlite"
    assert why_none_is_recorded(file).startswith(f"none is recorded: {file} does not exist")


def test_link_whose_disk_is_not_mounted_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("disk")
    with pytest.raises(AlertStoreError, match=f"{tmp_path}/state is a link to what does not"):
        why_none_is_recorded(tmp_path / "state" / "receiver" / "incidents.sqlite")
