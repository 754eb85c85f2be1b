package expression

import (
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/uuid"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
)

var formatType = cel.ObjectType("kubernetes.NamedFormat")

// format says what is wrong with text.
type format struct {
	name  string
	wrong func(string) []string
}

// formats are those that can be named.
func formats() []format {
	prefixed := func(check func(name string, prefix bool) []string) func(string) []string {
		return func(s string) []string { return check(s, true) }
	}
	parsed := func(read func(string) error) func(string) []string {
		return func(s string) []string {
			if err := read(s); err != nil {
				return []string{err.Error()}
			}
			return nil
		}
	}
	moment := func(layout string) func(string) []string {
		return parsed(func(s string) error { _, err := time.Parse(layout, s); return err })
	}
	return []format{
		{"dns1123Label", func(s string) []string { return apivalidation.NameIsDNSLabel(s, false) }},
		{"dns1123Subdomain", func(s string) []string { return apivalidation.NameIsDNSSubdomain(s, false) }},
		{"dns1035Label", func(s string) []string { return apivalidation.NameIsDNS1035Label(s, false) }},
		{"qualifiedName", validation.IsQualifiedName},
		{"dns1123LabelPrefix", prefixed(apivalidation.NameIsDNSLabel)},
		{"dns1123SubdomainPrefix", prefixed(apivalidation.NameIsDNSSubdomain)},
		{"dns1035LabelPrefix", prefixed(apivalidation.NameIsDNS1035Label)},
		{"labelValue", validation.IsValidLabelValue},
		{"uri", parsed(func(s string) error {
			_, err := url.ParseRequestURI(s)
			return err
		})},
		{"uuid", parsed(func(s string) error {
			if len(strings.ReplaceAll(s, "-", "")) != 32 || uuid.Validate(s) != nil {
				return errors.New("does not match the UUID format")
			}
			return nil
		})},
		{"byte", parsed(func(s string) error {
			if _, err := base64.StdEncoding.DecodeString(s); err != nil {
				return errors.New("invalid base64")
			}
			return nil
		})},
		{"date", moment(time.DateOnly)},
		{"datetime", moment(time.RFC3339Nano)},
	}
}

func newFormat(f format) ref.Val {
	return &opaque{value: f.name, t: formatType}
}

// formatFunctions are format.NAME(), format.named(NAME) and validate.
func formatFunctions() []overload {
	all := formats()
	find := func(name string) (format, bool) {
		i := slices.IndexFunc(all, func(f format) bool { return f.name == name })
		if i < 0 {
			return format{}, false
		}
		return all[i], true
	}
	out := []overload{
		function("format.named", cel.OptionalType(formatType), of1(func(name string) ref.Val {
			f, ok := find(name)
			if !ok {
				return types.OptionalNone
			}
			return types.OptionalOf(newFormat(f))
		}), cel.StringType),
		method("validate", cel.OptionalType(cel.ListType(cel.StringType)), of2(func(name, s string) ref.Val {
			f, _ := find(name)
			if wrong := f.wrong(s); len(wrong) > 0 {
				return types.OptionalOf(strs(wrong))
			}
			return types.OptionalNone
		}), formatType, cel.StringType),
	}
	for _, f := range all {
		out = append(out, function("format."+f.name, formatType, func(...ref.Val) ref.Val { return newFormat(f) }))
	}
	return out
}
