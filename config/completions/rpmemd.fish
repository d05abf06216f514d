# fish completion for rpmemd(1)

function __rpmemd_sets
    set -l directory (rpmemd --check-config 2>/dev/null | string match -rg '^poolset-dir *= (.*[^ ]) *# ')
    test -n "$directory"; and cd $directory; and command ls
end

# The keys with a file beside the configuration of all users.
function __rpmemd_keys
    for file in /etc/rpmemd/keys/*.conf
        string match -rg '([^/]*)\.conf$' $file
    end
end

complete -c rpmemd -f
complete -c rpmemd -s c -l config -rF -d 'Read this configuration file, and not the default ones'
complete -c rpmemd -s r -l remove -xa '(__rpmemd_sets)' -d 'Remove the pool of this pool set file, and exit'
complete -c rpmemd -s f -l force -d 'With --remove: pass over parts that are missing'
complete -c rpmemd -s s -l pool-set -d 'With --remove: remove the pool set file, too'
complete -c rpmemd -l with-progress -d 'With --list: print lines before, which say how many pools are looked at'
complete -c rpmemd -l dry-run -d 'With --remove: print what would be removed, and remove nothing'
complete -c rpmemd -l list -d 'Print the pools below the pool set directory, and exit'
complete -c rpmemd -l info -xa '(__rpmemd_sets)' -d 'Print all that is known of a pool, and exit'
complete -c rpmemd -l check -xa '(__rpmemd_sets)' -d 'Print what is wrong with a pool, and exit'
complete -c rpmemd -l repair -x -d 'With --check: make the repairs of this plan'
complete -c rpmemd -l status -d 'Print the sessions of this user and their counts, and exit'
complete -c rpmemd -l doctor -a '(__rpmemd_sets)' -d 'Listen for lanes, print what keeps sessions from working, and exit'
complete -c rpmemd -l digest -xa '(__rpmemd_sets)' -d 'Print digests of the blocks of a pool that nobody has open, and exit'
complete -c rpmemd -l length -x -d 'With --digest: of the first bytes of the pool'
complete -c rpmemd -l check-config -d 'Print the settings in effect and their origins, and exit'
complete -c rpmemd -l restrict -a '(__rpmemd_keys)' -d 'Do what the client of a restricted key asks for, if it may'
complete -c rpmemd -s h -l help -d 'Print the options, and exit'
complete -c rpmemd -s V -l version -d 'Print the version, and exit'
complete -c rpmemd -l poolset-dir -xa '(__fish_complete_directories)' -d 'Where pool set files are looked up'
complete -c rpmemd -l part-mode -x -d 'Permissions of part files that CREATE makes, octal'
complete -c rpmemd -l environment -xa none -d 'Variables for the libraries'
complete -c rpmemd -l restrict-to -xa any -d 'Pool sets that a client may use'
complete -c rpmemd -l permissions -xa 'all no-remove no-create read-only' -d 'What a client may do with pools'
complete -c rpmemd -l quota -xa unlimited -d 'Most bytes of part files in the pool sets of a client'
complete -c rpmemd -l providers -xa any -d 'Providers that a client may ask for'
complete -c rpmemd -l confinement -fa 'yes no' -d 'Whether a session gives up the rights that it does not need'
complete -c rpmemd -l log-file -rF -d 'Log to this file; turns syslog off'
complete -c rpmemd -l use-syslog -fa 'yes no' -d 'Log to the journal, or to syslog'
complete -c rpmemd -l log-level -xa 'err warn notice info debug' -d 'How much to log'
complete -c rpmemd -l persist-apm -fa 'yes no auto' -d 'Appliance Persistency Method'
complete -c rpmemd -l persist-general -fa 'yes no' -d 'General Purpose Server Persistency Method'
complete -c rpmemd -l in-band-address -xa session -d 'Address to listen on for lanes'
complete -c rpmemd -l port-range -xa any -d 'Ports to listen on for lanes'
complete -c rpmemd -l in-band-peer -xa 'ssh any' -d 'Who may connect lanes'
complete -c rpmemd -l in-band-secret -xa 'auto require' -d 'Whether lanes must show a secret'
complete -c rpmemd -l commit-writes -xa 'auto no' -d 'Whether libfabric may flush writes'
complete -c rpmemd -l max-lanes -xa unlimited -d 'Most lanes granted to a session'
complete -c rpmemd -l verbs-odp -xa 'yes no auto' -d 'On-demand paging by the RDMA device'
complete -c rpmemd -l lane-timeout -x -d 'How long the initiator has to connect its lanes'
complete -c rpmemd -l peer-timeout -x -d 'How long the initiator may be unreachable'
complete -c rpmemd -s t -l nthreads -x -d 'Worker threads of a session'
complete -c rpmemd -l poll-time -x -d 'How long a worker spins before it blocks'
