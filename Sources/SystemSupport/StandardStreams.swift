import Glibc

/// Opens /dev/null for each standard stream that is closed. Otherwise the next file that is opened, a log or a part, gets the
/// stream's number, and what is printed is written into it.
package func occupyStandardStreams() {
    // Standard output is opened for reading only, so that output fails: nobody gets it.
    for (number, mode) in [(STDIN_FILENO, O_RDONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_WRONLY)]
    where fcntl(number, F_GETFD) == -1 {
        // open(2) takes the lowest free number, which is this one.
        _ = open("/dev/null", mode)
    }
}
