import SystemSupport

extension ServedPool {
    /// Acts on the events of the lanes and their workers, and on deadlines that have passed.
    ///
    /// - Returns: The end of the session; nil while it goes on.
    func superviseLanes() -> SessionEnd? {
        defer { status?.note(lanes.counts) }
        while let event = lanes.nextEvent() {
            if let end = handle(event) { return end }
        }
        // Reading the events also clears the eventfd that a stopped worker signals, so this check comes after them.
        if let end = lanes.workerEnd {
            if end.isViolation { status?.noteViolation() }
            log.error(describe(end))
            return .failed
        }
        return checkDeadlines()
    }

    /// Why a worker stopped, for the log. A client that may not write is told that, and not that there is no such range.
    func describe(_ end: WorkerEnd) -> String {
        guard case .violation(let lane, .rangeOutsideRegion, _, _) = end,
            let objection = settings.objection(to: .write, descriptor)
        else { return "\(end)" }
        return "lane \(lane): persist request: \(objection)"
    }

    private func handle(_ event: InBandServer.LaneEvent) -> SessionEnd? {
        switch event {
        case .laneAccepted(let lane, let peer):
            log.debug("lane \(lane): accepted from \(Self.name(of: peer))")
        case .laneRefused(let peer, let reason):
            let text = "a lane from \(Self.name(of: peer)) is refused: \(reason)"
            // The initiator may wait for this lane. Others may ask for lanes without end, so only the first is told.
            if lanes.lanesEverConnected == 0, !hasToldOfRefusal {
                hasToldOfRefusal = true
                log.warning(tellingInitiator: text)
            } else {
                log.warning(text)
            }
        case .laneConnected(let lane):
            log.debug("lane \(lane): connected")
            if lanes.isListening {
                laneDeadline = settings.laneDeadline()
            } else {
                laneDeadline = nil
                log.info("all \(lanes.laneCount) lanes are connected; no more are accepted")
            }
        case .laneClosed(let lane):
            log.debug("lane \(lane): closed by the initiator")
            if lanes.connectedLanes == 0 { laneDeadline = settings.laneDeadline() }
        case .laneBroken(let lane):
            // A normal hang-up can look like this as well; a CLOSE follows.
            log.debug("lane \(lane): ended with an operation under way")
            if lanes.connectedLanes == 0 { laneDeadline = settings.laneDeadline() }
            if closeDeadline == nil { closeDeadline = settings.laneDeadline() }
        case .laneFailed(let lane, let error):
            log.error("\(lane.map { "lane \($0)" } ?? "a lane"): cannot be connected: \(error)")
            return .failed
        }
        return nil
    }

    private func checkDeadlines() -> SessionEnd? {
        let seconds = settings.laneTimeout.value
        if let laneDeadline, laneDeadline.hasPassed {
            if lanes.connectedLanes > 0 {
                // An initiator may connect fewer lanes than the target granted.
                log.notice(
                    "\(lanes.connectedLanes) of \(lanes.laneCount) lanes are connected, and no other came in "
                        + "\(seconds) s: no more are accepted")
                lanes.stopListening()
                self.laneDeadline = nil
            } else if lanes.lanesEverConnected > 0 {
                log.error("all lanes are closed, and no CLOSE came in \(seconds) s: the initiator counts as gone")
                return .failed
            } else {
                log.error("no lane was connected in \(seconds) s: \(reasonForNoLanes())")
                return .failed
            }
        }
        if let closeDeadline, closeDeadline.hasPassed {
            log.error("a lane broke, and no CLOSE came in \(seconds) s: the initiator counts as gone")
            return .failed
        }
        if let lane = lanes.silentLane() {
            log.error(
                "lane \(lane): the initiator's machine gave no sign of life for \(settings.peerTimeout.value) s: it "
                    + "counts as gone (peer-timeout)")
            return .failed
        }
        return nil
    }

    private func reasonForNoLanes() -> String {
        let port = lanes.attributes.port
        let dropped = lanes.droppedPackets
        if dropped > 0 {
            return
                "\(dropped) packets to port \(port) came from another address than the session's, \(initiator), and were "
                + "dropped: if the initiator sent them, set in-band-peer = any"
        }
        return
            "does a firewall keep the initiator from port \(port)? see port-range and in-band-address, lane-timeout for "
            + "slow networks"
    }

    private static func name(of peer: NetworkAddress?) -> String { peer.map { "\($0)" } ?? "an unknown address" }
}
