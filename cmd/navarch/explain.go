package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"navarch.dev/navarch/cmd/navarch/deletion"
	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
)

func newExplainCommand() *cobra.Command {
	var config accessConfig
	var namespace string
	cmd := &cobra.Command{
		Use:   "explain KIND/NAME",
		Short: "Say what an object waits for: what holds its deletion up or, of a pod, why it is where it is",
		Long: "Say what an object waits for. Of one that is being deleted: who holds it, since when, and what would release it.\n" +
			"Of a pod also why it is where it is, or nowhere: per node, per scheduler plugin.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseObjectName(args[0], namespace)
			if err != nil {
				return err
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
			return explain(cmd.Context(), cmd.OutOrStdout(), access, ref)
		},
	}
	config.addFlags(cmd.Flags())
	addNamespaceFlag(cmd, &namespace)
	return cmd
}

func explain(ctx context.Context, out io.Writer, access *access, ref objectRef) error {
	conn, err := access.store()
	if err != nil {
		return err
	}
	c := client.New(conn, "navarch-cli")
	obj, err := c.GetNamed(ctx, ref.kind, ref.namespace, ref.name)
	if err != nil {
		return err
	}
	switch {
	case obj.GetDeletionTimestamp() != nil:
		return explainDeletion(ctx, out, access, c, ref, obj)
	case ref.kind.Kind == "Pod":
		return explainPod(ctx, out, access, ref)
	}
	_, err = fmt.Fprintf(out, "%s is not being deleted: nothing holds it back\n", ref)
	return err
}

func explainDeletion(ctx context.Context, out io.Writer, access *access, c *client.Client, ref objectRef, obj kinds.Object) error {
	registry, err := access.kinds(ctx)
	if err != nil {
		return err
	}
	blockers, err := deletion.NewInspector(c, registry).Blockers(ctx, ref.kind, obj)
	if err != nil {
		return err
	}
	since := deletion.Since(obj)
	fmt.Fprintf(out, "%s is being deleted since %s (%s)\n", ref, since.Local().Format(time.DateTime), time.Since(since).Round(time.Second))
	if len(blockers) == 0 {
		fmt.Fprintln(out, "nothing holds it back: it is about to go")
	}
	for _, b := range blockers {
		fmt.Fprintf(out, "\nwaits for:   %s\nheld by:     %s\n", b.What, b.Holder)
		for _, d := range b.Details {
			fmt.Fprintf(out, "             %s\n", d)
		}
		fmt.Fprintf(out, "released by: %s\n", b.Release)
	}
	return nil
}

func explainPod(ctx context.Context, out io.Writer, access *access, ref objectRef) error {
	conn, err := access.scheduler()
	if err != nil {
		return err
	}
	resp, err := schedulerv1.NewSchedulerServiceClient(conn).Explain(ctx, &schedulerv1.ExplainRequest{Namespace: ref.namespace, Name: ref.name})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	writeDiagnosis(w, ref, resp.GetDiagnosis())
	if resp.GetDiagnosis().GetNodeName() == "" {
		writeRemedies(w, resp.GetDiagnosis().GetNodes())
	}
	if attempts := resp.GetAttempts(); len(attempts) > 0 {
		fmt.Fprint(w, "\nATTEMPT\tRESULT\tNODES\tMESSAGE\n")
		for _, a := range attempts {
			result := "failed"
			if a.GetNodeName() != "" {
				result = a.GetNodeName()
			}
			fmt.Fprintf(w, "%s\t%s\t%d of %d\t%s\n", a.GetTime().AsTime().Local().Format("15:04:05.000"), result,
				a.GetFeasibleNodes(), a.GetEvaluatedNodes(), a.GetMessage())
		}
	}
	return w.Flush()
}

func writeDiagnosis(w io.Writer, ref objectRef, d *schedulerv1.Diagnosis) {
	where := "on no node"
	if d.GetNodeName() != "" {
		where = "on " + d.GetNodeName()
	}
	fmt.Fprintf(w, "pod %s/%s: %s", ref.namespace, ref.name, where)
	if d.GetQueue() != "" {
		fmt.Fprintf(w, " (in the %s queue)", d.GetQueue())
	}
	fmt.Fprintln(w)
	if d.GetMessage() != "" {
		fmt.Fprintln(w, d.GetMessage())
	}
	fmt.Fprint(w, "\nNODE\tFITS\tSCORE\tWHY\n")
	for _, n := range d.GetNodes() {
		fits, score := "no", "-"
		if n.GetFeasible() {
			fits, score = "yes", fmt.Sprint(n.GetTotalScore())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", n.GetNodeName(), fits, score, verdictText(n))
	}
}

// nodesAdvised is how many nodes the remedies are told of.
const nodesAdvised = 10

// writeRemedies says what would have to change, of the nodes that least keeps
// the pod from. All that is said of one node is needed, of each plugin one thing.
func writeRemedies(w io.Writer, nodes []*schedulerv1.NodeVerdict) {
	var advised []*schedulerv1.NodeVerdict
	for _, n := range nodes {
		if slices.ContainsFunc(n.GetRejections(), func(r *schedulerv1.PluginVerdict) bool { return len(r.GetRemedies()) > 0 }) {
			advised = append(advised, n)
		}
	}
	if len(advised) == 0 {
		return
	}
	slices.SortStableFunc(advised, func(a, b *schedulerv1.NodeVerdict) int {
		return cmp.Compare(len(a.GetRejections()), len(b.GetRejections()))
	})
	fmt.Fprint(w, "\nNODE\tTHE POD\tWHAT WOULD HELP\n")
	for _, n := range advised[:min(len(advised), nodesAdvised)] {
		for _, r := range n.GetRejections() {
			fmt.Fprintf(w, "%s\t%s\t%s\n", n.GetNodeName(), cmp.Or(r.GetDetail(), r.GetReason()), remedyText(r.GetRemedies()))
		}
	}
	if more := len(advised) - nodesAdvised; more > 0 {
		fmt.Fprintf(w, "and %d more nodes\n", more)
	}
}

func remedyText(remedies []*schedulerv1.Remedy) string {
	if len(remedies) == 0 {
		return "-"
	}
	parts := make([]string, len(remedies))
	for i, r := range remedies {
		parts[i] = r.GetDescription()
	}
	return strings.Join(parts, ", or ")
}

func verdictText(n *schedulerv1.NodeVerdict) string {
	var parts []string
	for _, r := range n.GetRejections() {
		parts = append(parts, r.GetPlugin()+": "+r.GetReason())
	}
	for _, s := range n.GetScores() {
		parts = append(parts, fmt.Sprintf("%s %d×%d", s.GetPlugin(), s.GetScore(), s.GetWeight()))
	}
	return strings.Join(parts, ", ")
}
