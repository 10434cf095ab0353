from ar_sync_pipeline_tests.fix_sftp import (
    any_sftp_server,
    cutting_proxy,
    openssh_daemon,
    openssh_server,
    sftp_server,
)

__all__ = ["any_sftp_server", "cutting_proxy", "openssh_daemon", "openssh_server", "sftp_server"]
