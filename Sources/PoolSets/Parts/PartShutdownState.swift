extension PartFile {
    /// Replaces the shutdown state in the part's header, durably.
    func writeShutdownState(_ state: ShutdownState) throws(PoolError) {
        var header = try readHeader()
        let wasValid = header.isChecksumValid
        header.shutdownState = state
        // Without CKSUM_2K the header's checksum covers the shutdown state. A header with a wrong checksum keeps it: it
        // may be data that an initiator wrote over the page.
        if wasValid && !header.isChecksumValid {
            header.seal()
            try writeHeader(header.bytes)
        } else {
            try writeHeader(state.bytes, at: PoolHeader.shutdownStateOffset)
        }
    }

    /// Clears the dirty mark, durably, if the header has a valid shutdown state with the mark.
    func clearDirtyMark() throws(PoolError) {
        let header = try readHeader()
        guard header.incompatFeatures & Feature.shutdownState != 0 else { return }
        let state = header.shutdownState
        // An initiator may have written over the page. Such bytes stay.
        guard state.isChecksumValid, state.isDirty else { return }
        do throws(PoolError) { try writeShutdownState(ShutdownState(state.counts, isDirty: false)) } catch {
            // The page cache may have the state without the mark, which the next OPEN would read, and the medium may
            // not.
            try? writeShutdownState(state)
            throw error
        }
    }
}
