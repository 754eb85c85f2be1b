package podenv

import "strings"

// Expand replaces each $(NAME) by the value of the variable. $$ stands for a
// $, so $$(NAME) is not a reference; a reference to an unknown variable stays
// as it is.
func Expand(s string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			ref := s[i : i+end+1]
			if v, ok := lookup(ref[2:end]); ok {
				out.WriteString(v)
			} else {
				out.WriteString(ref)
			}
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

// ExpandAll expands each string of a command.
func ExpandAll(args []string, lookup func(name string) (string, bool)) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = Expand(a, lookup)
	}
	return out
}
