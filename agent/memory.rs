//! How much of the node's memory the daemon holds on to. glibc is made for programs that allocate much on many threads: it gives
//! each thread a heap of its own, and keeps what was freed. This one allocates little, now and then, and ten thousand nodes run it.
//!
//! The only `unsafe` code there is: two calls of glibc that take numbers and touch nothing of ours. With another C library
//! they are not there and not needed.
#![allow(unsafe_code)]

#[cfg(target_env = "gnu")]
use nix::libc;

/// Bytes free at the end of the heap that are kept for what comes next (mallopt(3) `M_TRIM_THRESHOLD`; by default 128 KiB, and more
/// once something large was freed).
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 10;
/// From this size on an allocation has pages of its own, which go back when it is freed (`M_MMAP_THRESHOLD`; set, it does not grow).
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// One heap for all threads; to be said before there are any.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives the pages back in which nothing is any more.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
