# bash completion for tbctl; made by: tbctl completions bash

_tbctl() {
    local program=${1/#\~/$HOME} line
    COMPREPLY=()
    # tbctl takes the line apart by itself: bash cuts words at @ and :, which users and URLs have in them.
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <("$program" complete bash -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
}

complete -o nosort -F _tbctl tbctl 2>/dev/null || complete -F _tbctl tbctl
