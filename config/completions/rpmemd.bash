# bash completion for rpmemd(1)                            -*- shell-script -*-

_rpmemd() {
    local cur prev words cword split
    _init_completion -s || return

    case $prev in
        -c | --config | --log-file)
            _filedir
            return
            ;;
        --poolset-dir)
            _filedir -d
            return
            ;;
        -r | --remove | --info | --check | --doctor | --digest)
            # Relative to the pool set directory, as a rule that of the user's configuration.
            local directory
            directory=$("${words[0]}" --check-config 2>/dev/null | sed -n 's/^poolset-dir *= \(.*[^ ]\) *# .*/\1/p')
            mapfile -t COMPREPLY < <(cd "${directory:-.}" 2>/dev/null && compgen -f -- "$cur")
            compopt -o filenames
            return
            ;;
        --log-level)
            mapfile -t COMPREPLY < <(compgen -W 'err warn notice info debug' -- "$cur")
            return
            ;;
        --persist-apm | --verbs-odp)
            mapfile -t COMPREPLY < <(compgen -W 'yes no auto' -- "$cur")
            return
            ;;
        --use-syslog | --persist-general | --confinement)
            mapfile -t COMPREPLY < <(compgen -W 'yes no' -- "$cur")
            return
            ;;
        --permissions)
            mapfile -t COMPREPLY < <(compgen -W 'all no-remove no-create read-only' -- "$cur")
            return
            ;;
        --quota)
            mapfile -t COMPREPLY < <(compgen -W 'unlimited' -- "$cur")
            return
            ;;
        --restrict-to | --providers)
            mapfile -t COMPREPLY < <(compgen -W 'any' -- "$cur")
            return
            ;;
        --environment)
            mapfile -t COMPREPLY < <(compgen -W 'none' -- "$cur")
            return
            ;;
        --in-band-address)
            mapfile -t COMPREPLY < <(compgen -W 'session' -- "$cur")
            return
            ;;
        --in-band-secret)
            mapfile -t COMPREPLY < <(compgen -W 'auto require' -- "$cur")
            return
            ;;
        --commit-writes)
            mapfile -t COMPREPLY < <(compgen -W 'auto no' -- "$cur")
            return
            ;;
        --in-band-peer)
            mapfile -t COMPREPLY < <(compgen -W 'ssh any' -- "$cur")
            return
            ;;
        --port-range)
            mapfile -t COMPREPLY < <(compgen -W 'any' -- "$cur")
            return
            ;;
        --max-lanes)
            mapfile -t COMPREPLY < <(compgen -W 'unlimited' -- "$cur")
            return
            ;;
        --repair | --part-mode | --lane-timeout | --peer-timeout | -t | --nthreads | --poll-time)
            return
            ;;
    esac
    [ "$split" != true ] || return 0

    mapfile -t COMPREPLY < <(compgen -W '
        --config --remove --force --pool-set --dry-run --list --with-progress --info --check --repair --status --doctor --digest --length --check-config --restrict --help --version
        --poolset-dir --part-mode --environment --restrict-to --permissions --quota --providers --confinement --log-file --use-syslog --log-level --persist-apm --persist-general
        --in-band-address --port-range --in-band-peer --in-band-secret --commit-writes --max-lanes --verbs-odp --lane-timeout --peer-timeout
        --nthreads --poll-time
        -c -r -f -s -h -V -t' -- "$cur")
} && complete -F _rpmemd rpmemd
