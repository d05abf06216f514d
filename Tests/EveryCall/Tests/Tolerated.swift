/// Functions whose failure may leave a session as it is.
enum Tolerated {
    /// Why a session may go on without the call; nil when it must not.
    static func reason(_ name: String, _ program: Program) -> String? {
        switch name {
        case "close", "munmap", "shutdown", "fi_close": "the resource is released all the same"
        default: nil
        }
    }
}
