import Glibc

/// Whether tests that repeat something with other random numbers do it as often as they can (`make test LONG=1`), or so
/// often that a mistake that was made before would show again.
package enum LongRun {
    package static let isOn = getenv("RPMEM_LONG_TESTS") != nil
}
