/// The daemon's version, as `--version`, the log and the man pages say it.
package let daemonVersion = "0.1.0"
