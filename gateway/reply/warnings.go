package reply

import (
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	// mostWarned is how many characters the warnings of a response may have together.
	// Proxies and clients limit the size of headers.
	mostWarned = 4 << 10
	// mostOfWarning is how many characters remain of each warning where all of them
	// are more than mostWarned.
	mostOfWarning = 256
)

// Warnings adds warning headers to those of before. It must be called before the
// body is written. Nothing is said twice, and where all would be too much, each is
// cut short and the last are left out, as kube-apiserver does.
func Warnings(w http.ResponseWriter, warnings []string) {
	before, _ := utilnet.ParseWarningHeaders(w.Header().Values("Warning"))
	said := make([]string, len(before), len(before)+len(warnings))
	for i, b := range before {
		said[i] = b.Text
	}
	for _, text := range warnings {
		if text = onOneLine(text); text != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	w.Header().Del("Warning")
	for _, text := range fitting(said) {
		if header, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
			w.Header().Add("Warning", header)
		}
	}
}

// onOneLine returns a text as a header can have it.
func onOneLine(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strings.Join(strings.Fields(text), " ")
	}
	return text
}

// fitting returns as much of some texts as fits into a response's headers.
func fitting(texts []string) []string {
	all := 0
	for _, text := range texts {
		all += utf8.RuneCountInString(text)
	}
	if all <= mostWarned {
		return texts
	}
	var out []string
	whole, cut := 0, 0 // characters of the texts so far, and of what remains of them
	for _, text := range texts {
		if cut >= mostWarned && whole > mostWarned {
			break
		}
		whole += utf8.RuneCountInString(text)
		if runes := []rune(text); len(runes) > mostOfWarning {
			text = string(runes[:mostOfWarning])
		}
		cut += utf8.RuneCountInString(text)
		out = append(out, text)
	}
	return out
}
