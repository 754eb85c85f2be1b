package nodeaffinity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestAdvise(t *testing.T) {
	is := func(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	term := func(rs ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: rs}
	}
	selecting := func(key, value string) *schedtest.PodBuilder {
		return schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} })
	}
	node := schedtest.Node("n").Label("disk", "hdd").Label("zone", "a").Label("size", "3").Info()
	for _, tt := range []struct {
		name   string
		pod    *schedtest.PodBuilder
		detail string
		want   []string
	}{
		{"matches", selecting("disk", "hdd"), "", nil},
		{"another value", selecting("disk", "ssd"), "wants disk=ssd (the node has disk=hdd)", []string{"label the node disk=ssd", "no longer require disk=ssd"}},
		{"no value", selecting("pool", "x"), "wants pool=x (the node has no pool)", []string{"label the node pool=x", "no longer require pool=x"}},
		{"what a node is", selecting(corev1.LabelArchStable, "arm64"), "wants kubernetes.io/arch=arm64 (the node has no kubernetes.io/arch)", []string{"no longer require kubernetes.io/arch=arm64"}},
		{"the closest term", requiring(
			term(is("a", corev1.NodeSelectorOpExists), is("b", corev1.NodeSelectorOpExists)), term(is("zone", corev1.NodeSelectorOpIn, "a"), is("disk", corev1.NodeSelectorOpIn, "ssd", "nvme")),
		), "wants disk in (ssd,nvme) (the node has disk=hdd)", []string{"label the node disk=ssd", "no longer require disk in (ssd,nvme)"}},
		{"one term matches", requiring(term(is("a", corev1.NodeSelectorOpExists)), term(is("zone", corev1.NodeSelectorOpIn, "a"))), "", nil},
		{"not what it has", requiring(term(is("disk", corev1.NodeSelectorOpNotIn, "hdd"))), "wants disk notin (hdd) (the node has disk=hdd)",
			[]string{"take the label disk off the node", "no longer require disk notin (hdd)"}},
		{"not at all", requiring(term(is("disk", corev1.NodeSelectorOpDoesNotExist))), "wants !disk (the node has disk=hdd)", []string{"take the label disk off the node", "no longer require !disk"}},
		{"numbers", requiring(term(is("size", corev1.NodeSelectorOpGt, "3"))), "wants size>3 (the node has size=3)", []string{"no longer require size>3"}},
		{"a name", requiring(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{in("metadata.name", "other")}}),
			"wants metadata.name=other (the node has metadata.name=n)", []string{"no longer require metadata.name=other"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := plugin(t, nil), &framework.CycleState{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nil); !s.Success() {
				t.Fatal(s.Code())
			}
			if rejected := !p.Filter(t.Context(), state, tt.pod.Info(), node).Success(); rejected != (tt.detail != "") {
				t.Errorf("the node is rejected: %v", rejected)
			}
			got := p.Advise(t.Context(), state, tt.pod.Info(), node)
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
	added := plugin(t, &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(in("pool", "x"))}}})
	if got := added.Advise(t.Context(), &framework.CycleState{}, schedtest.Pod("p").Info(), node); len(got.Remedies) != 1 || got.Remedies[0].Description != "use another schedulerName" {
		t.Errorf("%+v", got)
	}
}
