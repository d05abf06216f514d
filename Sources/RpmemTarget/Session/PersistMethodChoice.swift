import RpmemProtocol

/// The persistency method of a session, and why it is not the one that the settings ask for.
struct PersistMethodChoice: Hashable, Sendable {
    let method: PersistMethod
    /// A line for the log; nil when the method is the one that the settings ask for.
    let remark: String?

    /// - Parameters:
    ///   - isPersistentMemory: Every part of the pool is Device DAX or mapped with MAP_SYNC.
    ///   - cachesPersist: The CPU caches are in the persistence domain of every region (eADR).
    ///   - softwareProvider: The provider's name, where this machine's CPU stores the data of WRITEs. An initiator's READ then
    ///     finds the data in the CPU caches and proves nothing. nil where a device stores the data.
    init(
        _ setting: AppliancePersistency, isPersistentMemory: Bool, cachesPersist: Bool, softwareProvider: String?
    ) {
        switch (setting, isPersistentMemory, cachesPersist) {
        case (.no, _, _):
            self.init(.gpspm, nil)
        case (.yes, true, true), (.auto, true, true):
            self.init(.apm, nil)
        case (.yes, true, false):
            guard let softwareProvider else {
                self.init(.apm, nil)
                return
            }
            self.init(
                .gpspm,
                "persist-apm is set, but over \(softwareProvider) the CPU of this machine writes the data, through "
                    + "caches that are not in the persistence domain of every region (no eADR): GPSPM is used; the appliance method "
                    + "needs verbs there")
        case (.yes, false, _), (.auto, false, _):
            self.init(
                .gpspm,
                "persist-apm is set, but the pool is not on persistent memory as a whole (Device DAX or MAP_SYNC on every "
                    + "part): GPSPM is used")
        case (.auto, true, false):
            self.init(
                .gpspm,
                "persist-apm = auto: the CPU caches are not in the persistence domain of every region (no eADR: see "
                    + "/sys/bus/nd/devices/region*/persistence_domain): GPSPM is used")
        }
    }

    private init(_ method: PersistMethod, _ remark: String?) {
        self.method = method
        self.remark = remark
    }
}
