# Completion for bash: the commands and their options as the program itself tells them, and files' names.
_tenon()
{
    local word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --commands 2> /dev/null)" -- "$word"))
    elif [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help 2> /dev/null | grep -o -- '--[a-z0-9][a-z0-9-]*')" -- "$word"))
    fi
}
complete -o default -F _tenon tenon
