import CRpmem

// librpmem(7).

@c @implementation
public func rpmem_check_version(_ major_required: UInt32, _ minor_required: UInt32) -> UnsafePointer<CChar>! {
    if major_required == UInt32(RPMEM_MAJOR_VERSION) && minor_required <= UInt32(RPMEM_MINOR_VERSION) { return nil }
    let text = """
        version \(major_required).\(minor_required) of librpmem is needed, this one has \
        \(RPMEM_MAJOR_VERSION).\(RPMEM_MINOR_VERSION)
        """
    LastMessage.set(text)
    Log.write(.errors, "rpmem_check_version: \(text)")
    return LastMessage.current
}

@c @implementation
public func rpmem_errormsg() -> UnsafePointer<CChar>! { LastMessage.current }
