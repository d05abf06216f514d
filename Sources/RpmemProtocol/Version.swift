/// The project's version, as `--version`, the log, the man pages and CHANGELOG.md say it.
package let projectVersion = "0.1.0"
