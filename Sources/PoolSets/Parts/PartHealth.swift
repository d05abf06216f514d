import PersistentMemory

extension DeviceHealth {
    /// Refuses parts with bad blocks.
    func checkBadBlocks(of parts: [PartFile]) throws(PoolError) {
        for part in parts {
            let extents: [BadBlock]
            do throws(PersistentMemoryError) {
                extents = try badBlocks(part.descriptor.number, part.path)
            } catch {
                throw .persistentMemory(error)
            }
            if !extents.isEmpty { throw .badBlocks(path: part.path, extents: extents) }
        }
    }

    /// Reads the unsafe shutdown counts and ids of the devices under all parts.
    func shutdownCounts(of parts: [PartFile]) throws(PoolError) -> ShutdownState.Counts {
        var counts = ShutdownState.Counts()
        do throws(PersistentMemoryError) {
            for part in parts {
                counts.add(
                    unsafeShutdowns: try unsafeShutdownCount(part.descriptor.number, part.path),
                    deviceID: try deviceID(part.descriptor.number, part.path))
            }
        } catch {
            throw .persistentMemory(error)
        }
        return counts
    }
}
