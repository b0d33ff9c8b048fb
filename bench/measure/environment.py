"""The environments a worker can be timed in."""

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "stock": {},
    # glibc gives blocks of more than 128 KiB back to the kernel and faults them in anew, more or
    # less often from process to process. Kept, mid-size batches repeat better; users do not run so.
    "steady": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**31),
        "MALLOC_TOP_PAD_": str(2**26),
    },
}
