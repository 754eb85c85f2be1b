package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/cmd/navarch/objectdiff"
	"navarch.dev/navarch/internal/apistatus"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func newHistoryCommand() *cobra.Command {
	var config accessConfig
	var namespace, output string
	var limit int32
	cmd := &cobra.Command{
		Use:   "history KIND/NAME",
		Short: "Show an object's past revisions: when, who, and what changed",
		Long: "Show an object's past revisions, newest first: when, who, and what changed. They reach back as far as the Store keeps\n" +
			"revisions (its --compact-interval, at least); an object that was deleted within that time has a history too.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseObjectName(args[0], namespace)
			if err != nil {
				return err
			}
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("flag --output: %q must be json or left out", output)}
			}
			if limit < 1 || limit > 100 {
				return usageError{fmt.Errorf("flag --limit: %d must be from 1 to 100", limit)}
			}
			access, err := config.open()
			if err != nil {
				return err
			}
			defer access.Close()
			ref, err := access.object(cmd.Context(), name)
			if err != nil {
				return err
			}
			return showHistory(cmd.Context(), cmd.OutOrStdout(), access, ref, limit, output)
		},
	}
	config.addFlags(cmd.Flags())
	addNamespaceFlag(cmd, &namespace)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json: the revisions as JSON, with the object as of each")
	cmd.Flags().Int32Var(&limit, "limit", 20, "the most revisions to show")
	return cmd
}

func showHistory(ctx context.Context, out io.Writer, access *access, ref objectRef, limit int32, output string) error {
	conn, err := access.store()
	if err != nil {
		return err
	}
	resp, err := storev1.NewStoreServiceClient(conn).History(ctx, &storev1.HistoryRequest{
		Resource: ref.resource(), Namespace: ref.namespace, Name: ref.name,
		// One more than is shown: the last one shown is compared with it.
		Limit: limit + 1, Encoding: storev1.Encoding_ENCODING_JSON,
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	revisions, err := describeHistory(resp, int(limit))
	if err != nil {
		return err
	}
	if output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(revisions)
	}
	return writeHistory(out, revisions)
}

// revision is what one write did, as it is shown.
type revision struct {
	ResourceVersion string     `json:"resourceVersion"`
	Time            *time.Time `json:"time,omitempty"`
	User            string     `json:"user,omitempty"`
	FieldManager    string     `json:"fieldManager,omitempty"`
	Verb            string     `json:"verb,omitempty"`
	Subresource     string     `json:"subresource,omitempty"`
	// Oldest says that what was before this revision is not known.
	Oldest  bool                `json:"oldest,omitempty"`
	Removed bool                `json:"removed,omitempty"`
	Changes []objectdiff.Change `json:"changes,omitempty"`
	Object  json.RawMessage     `json:"object,omitempty"`
}

// describeHistory compares each revision with the one before it.
func describeHistory(resp *storev1.HistoryResponse, limit int) ([]revision, error) {
	all := resp.GetRevisions()
	out := make([]revision, 0, len(all))
	for i, r := range all[:min(limit, len(all))] {
		one := revision{
			ResourceVersion: r.GetResourceVersion(), User: r.GetWriter().GetUser(), FieldManager: r.GetWriter().GetFieldManager(),
			Verb: r.GetWriter().GetVerb(), Subresource: r.GetWriter().GetSubresource(), Removed: r.GetRemoved(),
			Object: r.GetObject().GetJson(),
		}
		if r.GetWriter().GetTime() != nil {
			at := r.GetWriter().GetTime().AsTime()
			one.Time = &at
		}
		var before []byte
		switch known := i+1 < len(all); {
		case known && !all[i+1].GetRemoved():
			before = all[i+1].GetObject().GetJson()
		case !known && !resp.GetComplete():
			one.Oldest, before = true, one.Object
		}
		if !r.GetRemoved() {
			var err error
			if one.Changes, err = objectdiff.Between(before, one.Object); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func writeHistory(out io.Writer, revisions []revision) error {
	// The heads are laid out first: their columns would end at every change.
	var heads strings.Builder
	w := tabwriter.NewWriter(&heads, 0, 8, 2, ' ', 0)
	fmt.Fprint(w, "REVISION\tWHEN\tWHO\tMANAGER\tWHAT\n")
	for _, r := range revisions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ResourceVersion, when(r.Time), orDash(r.User), orDash(r.FieldManager), r.what())
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("lay out the history: %w", err)
	}
	lines := strings.SplitAfter(heads.String(), "\n")
	fmt.Fprint(out, lines[0])
	for i, r := range revisions {
		fmt.Fprint(out, lines[i+1])
		writeChanges(out, r)
	}
	return nil
}

// what says what the write was.
func (r revision) what() string {
	what := orDash(r.Verb)
	if r.Subresource != "" {
		what += " " + r.Subresource
	}
	if r.Removed {
		what += ", which removed it"
	}
	return what
}

func writeChanges(out io.Writer, r revision) {
	if r.Oldest {
		fmt.Fprint(out, "    (what was before is not kept any more)\n")
	}
	if r.Verb == "create" {
		return // all of it is new
	}
	for _, c := range r.Changes {
		fmt.Fprintf(out, "    %s\n", clipped(c.String()))
	}
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clipped shortens what no terminal shows on one line.
func clipped(s string) string {
	const most = 200
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "…"
}
