/// Allocated memory and its memory regions. It owns both, and closes the regions before it frees the memory.
///
/// Operations on the memory must be over, or their endpoint closed, before the last reference goes.
package final class RegisteredBuffer {
    /// The memory, not initialized. It never moves.
    package let bytes: UnsafeMutableRawBufferPointer
    private let accesses: [MemoryRegion.Access]
    /// One for each of ``accesses``.
    private var regions: [MemoryRegion]

    /// Allocates and registers memory.
    ///
    /// - Parameters:
    ///   - byteCount: At least 1.
    ///   - alignment: Of the first byte, in bytes; a power of two.
    ///   - accesses: The buffer gets one memory region for each; at least one, and none twice.
    /// - Throws: The error of `fi_mr_reg`. The memory is freed again.
    package init(
        byteCount: Int, alignment: Int = 4096, for accesses: MemoryRegion.Access..., in domain: FabricDomain
    ) throws(FabricError) {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: alignment)
        do throws(FabricError) { regions = try Self.register(bytes, for: accesses, in: domain) } catch {
            bytes.deallocate()
            throw error
        }
        self.accesses = accesses
        self.bytes = bytes
    }

    deinit {
        regions = []
        bytes.deallocate()
    }

    /// The region for `access`, which must be one of those that the buffer was registered for. It must not outlive the
    /// buffer.
    package func region(for access: MemoryRegion.Access) -> MemoryRegion {
        regions[accesses.firstIndex(of: access)!]
    }

    /// The descriptor that this side's operations with `access` pass to libfabric; constant.
    package func descriptor(for access: MemoryRegion.Access) -> UnsafeMutableRawPointer? {
        region(for: access).descriptor
    }

    /// When it throws, the regions that it has made are closed before the caller frees the memory.
    private static func register(
        _ bytes: UnsafeMutableRawBufferPointer, for accesses: [MemoryRegion.Access], in domain: FabricDomain
    ) throws(FabricError) -> [MemoryRegion] {
        var regions: [MemoryRegion] = []
        for access in accesses { regions.append(try MemoryRegion(bytes, for: access, in: domain)) }
        return regions
    }
}
