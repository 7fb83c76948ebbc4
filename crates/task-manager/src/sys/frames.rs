//! The return addresses on a thread's stack, as the C library finds them. They identify a place in the program for a
//! fraction of the time that finding names takes.
//!
//! Empty where the C library has no such function.

/// The addresses of the innermost callers, at most `at_most`.
#[cfg(any(all(target_os = "linux", target_env = "gnu"), target_vendor = "apple"))]
#[inline(never)]
pub(crate) fn return_addresses(at_most: usize) -> Vec<usize> {
    let mut addresses = vec![std::ptr::null_mut(); at_most];
    let room = libc::c_int::try_from(at_most).unwrap_or(libc::c_int::MAX);
    // SAFETY: there is room for as many pointers as it is told, and it writes no more.
    let found = unsafe { libc::backtrace(addresses.as_mut_ptr(), room) };
    addresses.truncate(usize::try_from(found).unwrap_or(0));
    addresses.into_iter().map(|address| address as usize).collect()
}

#[cfg(not(any(all(target_os = "linux", target_env = "gnu"), target_vendor = "apple")))]
pub(crate) fn return_addresses(_at_most: usize) -> Vec<usize> {
    Vec::new()
}

#[cfg(all(test, any(all(target_os = "linux", target_env = "gnu"), target_vendor = "apple")))]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_stack_and_another_has_another() {
        let twice: Vec<_> = (0..2).map(|_| return_addresses(64)).collect();
        assert_eq!(twice[0], twice[1]);
        assert!(!twice[0].is_empty());
        assert_ne!(twice[0], return_addresses(64));
        assert_eq!(return_addresses(1).len(), 1);
    }
}
