package podenv

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestFindInFile(t *testing.T) {
	for _, tt := range []struct{ file, want, fails string }{
		{"K='v'", "v", ""},
		{"\n \t\n# K='no'\nOTHER='x'\n\t K='v' # so it is\n", "v", ""},
		{"K='a\n\n b # c'\n", "a\n\n b # c", ""},
		{"K='first'\nK='second'", "first", ""},
		{"K='$HOME \\n \"q\"'", `$HOME \n "q"`, ""},
		{"OTHER='x'", "", ""},
		{"K=''", "", ""},
		{"K= 'v'\nK='later'", "", ""},
		{"", "", ""},
		{"K", "", "line 1: missing '='"},
		{"\n='v'", "", "line 2: empty variable name"},
		{"K ='v'", "", "line 1: whitespace before '=' is not allowed"},
		{"K=v", "", "line 1: the value must be enclosed in single quotes"},
		{"K=", "", "line 1: the value must be enclosed in single quotes"},
		{"K=\"v\"", "", "line 1: the value must be enclosed in single quotes"},
		{"K='v' w", "", "line 1: unexpected content after the closing quote"},
		{"A='a\nb' c\nK='v'", "", "line 2: unexpected content after the closing quote"},
		{"\nK='v\n\n", "", "line 2: unclosed single quote"},
		{"K='v'\nwrong", "v", ""}, // nobody reads on
		{"K='" + strings.Repeat("v\n", maxFileValue/2) + "v'", "", "line 1: the value is longer than 131072 bytes"},
		{strings.Repeat("K", 1<<17), "", "bufio.Scanner: token too long"},
	} {
		got, err := findInFile(strings.NewReader(tt.file), "K")
		if got != tt.want || (err == nil) != (tt.fails == "") || err != nil && err.Error() != tt.fails {
			t.Errorf("%.40q: %q, %v; want %q %s", tt.file, got, err, tt.want, tt.fails)
		}
	}
}

func TestVariablesFromFiles(t *testing.T) {
	files := func(volume, path string) (io.ReadCloser, error) {
		switch volume + "/" + path {
		case "v/env":
			return io.NopCloser(strings.NewReader("A='one'\nEMPTY=''\n")), nil
		case "v/broken":
			return io.NopCloser(strings.NewReader("A=one")), nil
		case "v/secret":
			return nil, errors.New("path escapes from parent")
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for _, tt := range []struct {
		path, key string
		optional  bool
		want      string // the variable, or the end of the error
		fails     bool
	}{
		{"env", "A", false, "X=one", false},
		{"env", "B", false, `key "B" not found in the file "env" of the volume "v"`, true},
		{"env", "B", true, "", false},
		{"env", "EMPTY", false, `key "EMPTY" not found in the file "env" of the volume "v"`, true},
		{"none", "A", false, `open the file "none" of the volume "v": open none: file does not exist`, true},
		{"none", "A", true, "", false},
		{"broken", "A", true, `couldn't parse the env file "broken" of the volume "v": line 1: the value must be enclosed in single quotes`, true},
		{"secret", "A", true, "path escapes from parent", true},
	} {
		ref := &corev1.FileKeySelector{VolumeName: "v", Path: tt.path, Key: tt.key, Optional: &tt.optional}
		c := &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{FileKeyRef: ref}}}}
		env, err := Make(t.Context(), &corev1.Pod{}, c, Source{Files: files})
		switch {
		case tt.fails && (err == nil || !strings.HasSuffix(err.Error(), tt.want)):
			t.Errorf("%+v: %v", tt, err)
		case !tt.fails && (err != nil || strings.Join(env.List(), " ") != tt.want):
			t.Errorf("%+v: %v, %v", tt, env, err)
		}
		if env, err := Make(t.Context(), &corev1.Pod{}, c, Source{}); err != nil || len(env.List()) != 0 {
			t.Errorf("without files: %v, %v", env, err)
		}
	}
}

func FuzzFindInFile(f *testing.F) {
	f.Add("K='v' # c\nL='a\nb'")
	f.Fuzz(func(t *testing.T, file string) {
		value, err := findInFile(strings.NewReader(file), "K")
		if err == nil && value != "" && !strings.Contains(strings.ReplaceAll(file, "\r\n", "\n"), "K='"+value+"'") {
			t.Errorf("%q is not the value of K in %q", value, file)
		}
	})
}
