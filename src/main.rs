//! The `multilangd` program.

/// Blocks above this many bytes are given back to the system as soon as they are freed. Left alone, glibc keeps them
/// once it has seen a large answer come and go, several times over with several threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK: libc::c_int = 1024 * 1024;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory_small() {
    #[expect(unsafe_code, reason = "the allocator's settings are a call into the C library")]
    // SAFETY: it is called before there are other threads, and a value it does not like changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, GIVEN_BACK);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory_small() {}

fn main() {
    keep_memory_small();
    std::process::exit(multilangd::cli::main());
}
