/// Functions whose failure may leave a session as it is.
enum Tolerated {
    /// Why a session may go on without the call; nil when it must not.
    static func reason(_ name: String, _ program: Program) -> String? {
        switch name {
        case "close", "munmap", "shutdown", "fi_close", "fi_shutdown": "the resource is released all the same"
        case "eventfd" where program == .daemon: "without its eventfd the handler of SIGBUS ends the process itself"
        case "fi_cq_signal": "a worker is woken again and again until it has ended"
        case "fi_cq_readerr": "the queue reports the error again"
        case "fi_cq_sread", "fi_cq_read": "a worker that is told to stop needs no completion any more"
        case "fi_getinfo" where program == .daemon: "the first query only sets the providers up while there is time"
        default: nil
        }
    }
}
