import RpmemInitiator

/// Runs `body` on the pool of an `RPMEMpool *`: 0, or −1 after the failure has been reported.
///
/// - Parameters:
///   - lane: What `body` uses; any number where it uses none.
///   - arguments: For the log.
@inline(__always)
func use(
    _ pointer: OpaquePointer?, lane: UInt32, _ function: StaticString, arguments: @autoclosure () -> String,
    _ body: (InitiatorPool) throws(InitiatorError) -> Void
) -> Int32 {
    guard let pointer else { return refuse(function, .argument("the pool is NULL")) }
    let handle = UnsafeMutablePointer<PoolHandle>(pointer)
    guard handle.pointee.isOurs else { return refuse(function, .parentsPool) }
    if handle.pointee.isTraced { trace(function, arguments()) }
    var result: Int32 = 0
    let isOpen = handle.pointee.use(on: lane) { pool in
        do throws(InitiatorError) { try body(pool) } catch {
            result = refuse(function, .initiator(error))
        }
    }
    return isOpen ? result : refuse(function, .closed)
}

/// Reports a failure; what the function is to return then.
@inline(never)
func refuse(_ function: StaticString, _ failure: CallFailure) -> Int32 {
    failure.report(by: function)
    return -1
}

@inline(never)
private func trace(_ function: StaticString, _ arguments: String) { Log.write(.calls, "\(function)(\(arguments))") }
