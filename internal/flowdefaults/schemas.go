package flowdefaults

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
)

const (
	byUser      = flowcontrolv1.FlowDistinguisherMethodByUserType
	byNamespace = flowcontrolv1.FlowDistinguisherMethodByNamespaceType
)

// Schemas returns the FlowSchemas: the mandatory ones, then the suggested ones.
func Schemas() []*flowcontrolv1.FlowSchema {
	everybody := groups(identity.GroupUnauthenticated, identity.GroupAuthenticated)
	return append(MandatorySchemas(),
		schema("probes", flowcontrolv1.PriorityLevelConfigurationNameExempt, 2, "", flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: everybody,
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{
				{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}},
			},
		}),
		schema("system-leader-election", "leader-election", 100, byUser, flowcontrolv1.PolicyRulesWithSubjects{
			Subjects: append(users(identity.Controller, identity.Scheduler), systemAccounts()),
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{
				inNamespaces(coordinationv1.GroupName, []string{"leases"}, "get", "create", "update"),
			},
		}),
		schema("system-node-high", "node-high", 400, byUser, nodeHealth()),
		schema("system-nodes", "system", 500, byUser, everything(groups(identity.GroupNodes))),
		schema("navarch-services", "system", 500, byUser, everything(users(identity.Gateway, identity.Proxy))),
		schema("kube-controller-manager", "workload-high", 800, byNamespace, everything(users(identity.Controller))),
		schema("kube-scheduler", "workload-high", 800, byNamespace, everything(users(identity.Scheduler))),
		schema("kube-system-service-accounts", "workload-high", 900, byNamespace, everything([]flowcontrolv1.Subject{systemAccounts()})),
		schema("service-accounts", "workload-low", 9000, byUser, everything(groups("system:serviceaccounts"))),
		schema("global-default", "global-default", 9900, byUser, everything(everybody)),
	)
}

// MandatorySchemas returns the FlowSchemas that no cluster can be without.
func MandatorySchemas() []*flowcontrolv1.FlowSchema {
	return []*flowcontrolv1.FlowSchema{
		schema(flowcontrolv1.FlowSchemaNameExempt, flowcontrolv1.PriorityLevelConfigurationNameExempt, 1, "", everything(groups(identity.GroupMasters))),
		schema(flowcontrolv1.FlowSchemaNameCatchAll, flowcontrolv1.PriorityLevelConfigurationNameCatchAll, flowcontrolv1.FlowSchemaMaxMatchingPrecedence, byUser,
			everything(groups(identity.GroupUnauthenticated, identity.GroupAuthenticated))),
	}
}

func schema(name, level string, precedence int32, method flowcontrolv1.FlowDistinguisherMethodType, rule flowcontrolv1.PolicyRulesWithSubjects) *flowcontrolv1.FlowSchema {
	s := &flowcontrolv1.FlowSchema{
		ObjectMeta: updated(name),
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level},
			MatchingPrecedence:         precedence,
			Rules:                      []flowcontrolv1.PolicyRulesWithSubjects{rule},
		},
	}
	if method != "" {
		s.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: method}
	}
	return s
}

// everything is a rule about all requests of the subjects.
func everything(subjects []flowcontrolv1.Subject) flowcontrolv1.PolicyRulesWithSubjects {
	all := []string{"*"}
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:         subjects,
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
	}
}

// nodeHealth is a rule about what agents say of their nodes.
func nodeHealth() flowcontrolv1.PolicyRulesWithSubjects {
	nodes := inNamespaces("", []string{"nodes", "nodes/status"}, "*")
	nodes.ClusterScope = true
	return flowcontrolv1.PolicyRulesWithSubjects{
		Subjects:      groups(identity.GroupNodes),
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{nodes, inNamespaces(coordinationv1.GroupName, []string{"leases"}, "*")},
	}
}

func inNamespaces(group string, resources []string, verbs ...string) flowcontrolv1.ResourcePolicyRule {
	return flowcontrolv1.ResourcePolicyRule{
		Verbs: verbs, APIGroups: []string{group}, Resources: resources, Namespaces: []string{flowcontrolv1.NamespaceEvery},
	}
}

func users(names ...string) []flowcontrolv1.Subject {
	var out []flowcontrolv1.Subject
	for _, name := range names {
		out = append(out, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}})
	}
	return out
}

func groups(names ...string) []flowcontrolv1.Subject {
	var out []flowcontrolv1.Subject
	for _, name := range names {
		out = append(out, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: name}})
	}
	return out
}

// systemAccounts are all service accounts of kube-system.
func systemAccounts() flowcontrolv1.Subject {
	return flowcontrolv1.Subject{
		Kind:           flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Name: flowcontrolv1.NameAll, Namespace: metav1.NamespaceSystem},
	}
}
