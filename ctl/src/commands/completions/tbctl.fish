# fish completion for tbctl; made by: tbctl completions fish

function __tbctl_complete
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    set --local current (commandline --current-token --cut-at-cursor)
    set --local answers ($words[1] complete fish -- $words "$current" 2>/dev/null)
    if contains -- :files $answers
        __fish_complete_path "$current"
        return
    end
    string match --invert --regex '^:' -- $answers
end

complete --command tbctl --no-files --keep-order --arguments '(__tbctl_complete)'
