/// Says that the kernel failed to write stores of an earlier session or program back to a part (errseq). It tells nobody else of
/// that error afterwards.
///
/// - Parameter path: The part's, from ``Pool/partsWithEarlierErrors`` or ``LockedPool/partsWithEarlierErrors``.
package func earlierErrorRemark(_ path: String) -> String {
    "\(path): the kernel failed to write earlier stores back, so what is read here are the medium's contents: check the file system or "
        + "device"
}
