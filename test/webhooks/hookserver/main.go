// Command hookserver is a webhook as people deploy it: an HTTPS server in a pod.
// It refuses objects with the label "refuse", and labels the others at /label.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	reviewv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/store/admission/webhook/hooktest"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: hookserver ADDRESS FOLDER-OF-tls.crt-AND-tls.key")
	}
	http.Handle("/judge", hooktest.Handler(judge))
	http.Handle("/label", hooktest.Handler(label))
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServeTLS(os.Args[1], filepath.Join(os.Args[2], "tls.crt"), filepath.Join(os.Args[2], "tls.key"), nil)) //nolint:gosec // for tests
}

func judge(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(r.Object.Raw, &object); err != nil {
		return &reviewv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error()}}
	}
	if reason, ok := object.Labels["refuse"]; ok {
		return &reviewv1.AdmissionResponse{Result: &metav1.Status{Message: "refused for " + reason, Code: 403, Reason: metav1.StatusReasonForbidden}}
	}
	return &reviewv1.AdmissionResponse{Allowed: true, Warnings: []string{fmt.Sprintf("%s was looked at", r.Name)}}
}

func label(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	return &reviewv1.AdmissionResponse{
		Allowed: true, PatchType: ptr.To(reviewv1.PatchTypeJSONPatch),
		Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"labelled":"in-a-pod"}}]`),
	}
}
