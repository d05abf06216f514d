import Glibc

/// Whether randomised tests repeat their rounds many times (`make test LONG=1`). Otherwise they repeat them often enough to
/// find the errors that were found before.
package enum LongRun {
    package static let isOn = getenv("RPMEM_LONG_TESTS") != nil
}
