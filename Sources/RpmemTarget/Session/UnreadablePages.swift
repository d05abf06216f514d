import CLinux
import Glibc

// Where the kernel copies between a socket and a page that it cannot read or write, the system call fails with EFAULT, and no SIGBUS
// comes. libfabric 1.17 repeats the call for ever (sockets) or drops the lane without a word (tcp): the READ never completes.
//
// The daemon's definitions of these functions take the place of the C library's for libfabric as well, because the dynamic
// linker looks for symbols in the program first. They make the system calls, and pass EFAULT on to ``BusErrors``.

@c(send) public func sendNotingFaults(
    _ socket: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
    let result = rpmem_system_send(socket, buffer, count, flags)
    if result < 0, errno == EFAULT { BusErrors.noteFault(in: UnsafeRawBufferPointer(start: buffer, count: count)) }
    return result
}

@c(recv) public func receiveNotingFaults(
    _ socket: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
    let result = rpmem_system_recv(socket, buffer, count, flags)
    if result < 0, errno == EFAULT { BusErrors.noteFault(in: UnsafeRawBufferPointer(start: buffer, count: count)) }
    return result
}

@c(sendmsg) public func sendMessageNotingFaults(
    _ socket: Int32, _ message: UnsafePointer<msghdr>?, _ flags: Int32
) -> Int {
    let result = rpmem_system_sendmsg(socket, message, flags)
    if result < 0, errno == EFAULT { BusErrors.noteFault(in: message) }
    return result
}

@c(recvmsg) public func receiveMessageNotingFaults(
    _ socket: Int32, _ message: UnsafeMutablePointer<msghdr>?, _ flags: Int32
) -> Int {
    let result = rpmem_system_recvmsg(socket, message, flags)
    if result < 0, errno == EFAULT { BusErrors.noteFault(in: UnsafePointer(message)) }
    return result
}

extension BusErrors {
    /// Tells the watchdog of a page in `buffer` that the kernel could not read or write, if there is one, and waits for the end of
    /// the process. `errno` stays EFAULT.
    fileprivate static func noteFault(in buffer: UnsafeRawBufferPointer) {
        if let page = firstBadPage(of: buffer) { tellWatchdog(of: UInt(bitPattern: page), code: 0) }
        errno = EFAULT
    }

    fileprivate static func noteFault(in message: UnsafePointer<msghdr>?) {
        guard let message else { return }
        for index in 0..<Int(message.pointee.msg_iovlen) {
            let vector = message.pointee.msg_iov[index]
            noteFault(in: UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len))
        }
        errno = EFAULT
    }

    /// The first address in `buffer` whose page the kernel cannot read for this process. Allocates nothing: another thread
    /// may hang in a page fault.
    private static func firstBadPage(of buffer: UnsafeRawBufferPointer) -> UnsafeRawPointer? {
        guard let start = buffer.baseAddress else { return nil }
        var offset = 0
        while offset < buffer.count {
            if !rpmem_can_read(start + offset) { return start + offset }
            offset += 4096 - Int(bitPattern: start + offset) & 4095
        }
        return nil
    }
}
