"""The environment variables that our processes get."""

from __future__ import annotations

from collections.abc import Mapping

#: What a worker inherits from the daemon's environment; everything else stays out.
_PASSED_ON = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "CUDA_VISIBLE_DEVICES", "TZ"})
#: And what it needs to fetch a model; the proxies' names are written in capitals or not.
_NETWORK = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "STEMD_OFFLINE"})
#: Which of their kernels the libraries take where a person has chosen: other ones give other last bits.
_KERNELS = frozenset(
    {"OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"}
    | {"NPY_DISABLE_CPU_FEATURES"}
)
#: glibc keeps freed blocks instead of giving them back page by page: a fifth to a third faster, same numbers. All
#: threads share one arena: with one each, what the network's had kept was of no use to the encoders' (100 MiB).
_MALLOC = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("mmap_threshold=4294967296", "trim_threshold=8589934592", "hugetlb=1", "arena_max=1")
)


def scrubbed(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """What a process of ours gets of ``environ``, for ``threads`` threads."""
    known = _PASSED_ON | _KERNELS
    passed = {key: value for key, value in environ.items() if key in known or key.upper() in _NETWORK}
    counts = {key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {
        **passed,
        **counts,
        "GLIBC_TUNABLES": _MALLOC,
        # Threads that spin for long fight each other for a busy machine's cores (a job took 20 times as long); those
        # that sleep at once are woken too late (nano took 1.9 times as long): so they turn 1,000 times first.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
