from ar_sync_pipeline_tests.fix_sftp import (
    any_server_with_extensions,
    any_sftp_server,
    bare_server,
    chrooted_daemon,
    chrooted_server,
    cutting_proxy,
    openssh_daemon,
    openssh_server,
    sftp_server,
    shell_daemon,
    shell_server,
)

__all__ = [
    "any_server_with_extensions",
    "any_sftp_server",
    "bare_server",
    "chrooted_daemon",
    "chrooted_server",
    "cutting_proxy",
    "openssh_daemon",
    "openssh_server",
    "sftp_server",
    "shell_daemon",
    "shell_server",
]
