//! Handing freed memory back to the operating system.

/// Hands back what was freed, from the arenas of all threads. It may take some milliseconds.
///
/// Without it the allocator keeps the pages of large requests for later ones, and a host that was
/// busy once is large until it ends.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the call has no safe form")]
pub(crate) fn hand_back() {
    // SAFETY: `malloc_trim` takes a number, may be called at any time from any thread, and only
    // releases pages that hold no live allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators hand memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn hand_back() {}
