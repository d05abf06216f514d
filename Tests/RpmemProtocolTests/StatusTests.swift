import Glibc
import RpmemProtocol
import Testing

@Suite struct StatusTests {
    private static let errnos: [(Status, Int32)] = [
        (Status.success, 0), (.badProtocol, EPROTONOSUPPORT), (.badName, EINVAL), (.badSize, EFBIG),
        (.badLaneCount, EINVAL), (.badProvider, EINVAL), (.fatal, EREMOTEIO), (.fatalConnection, ECONNABORTED),
        (.busy, EBUSY), (.exists, EEXIST), (.providerNotSupported, EMEDIUMTYPE), (.noSuchPool, ENOENT),
        (.noAccess, EACCES), (.badPoolConfiguration, EINVAL),
    ]

    @Test(arguments: errnos) func initiatorErrno(status: Status, errno: Int32) {
        #expect(status.initiatorErrno == errno)
    }

    @Test func codesAreConsecutive() {
        #expect(Status.allCases.map(\.rawValue) == Array(0...13))
    }

    @Test func eachHasItsOwnReason() {
        #expect(Set(Status.allCases.map(\.reason)).count == Status.allCases.count)
    }
}
