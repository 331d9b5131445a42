import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.slf4j.LoggerFactory;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseSerializer;

/**
 * What KCL 3.5.1 reads in a row of the lease table: one row a line in, as DynamoDB tells it in JSON, what it says a line out.
 *
 * java -cp 'JARS/*' Rows.java
 */
public class Rows {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        List<String> answers = new ArrayList<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            answers.add(JSON.writeValueAsString(answer(row(JSON.readTree(line)))));
        }
        answers.forEach(System.out::println);
    }

    private static ObjectNode answer(Map<String, AttributeValue> row) {
        ObjectNode answer = JSON.createObjectNode();
        Lease lease;
        try {
            lease = new DynamoDBLeaseSerializer().fromDynamoRecord(row);
        } catch (RuntimeException e) {
            return answer.put("unreadable", true);
        }
        if (lease == null) {
            return answer.put("lease", false);
        }
        answer.put("key", lease.leaseKey());
        answer.put("owner", lease.leaseOwner());
        answer.put("checkpointOwner", lease.checkpointOwner());
        answer.put("counter", lease.leaseCounter());
        answer.put("switches", lease.ownerSwitchesSinceCheckpoint());
        answer.put("checkpoint", lease.checkpoint().sequenceNumber());
        answer.put("sub", lease.checkpoint().subSequenceNumber());
        shards(answer.putArray("parents"), lease.parentShardIds());
        shards(answer.putArray("children"), lease.childShardIds());
        if (lease.hashKeyRangeForLease() != null) {
            answer.putArray("range").add(lease.hashKeyRangeForLease().serializedStartingHashKey())
                    .add(lease.hashKeyRangeForLease().serializedEndingHashKey());
        }
        if (lease.throughputKBps() != null) {
            answer.put("throughput", lease.throughputKBps());
        }
        return answer;
    }

    private static void shards(ArrayNode answer, Collection<String> shards) {
        new TreeSet<>(shards).forEach(answer::add);
    }

    private static Map<String, AttributeValue> row(JsonNode row) {
        Map<String, AttributeValue> values = new HashMap<>();
        row.fields().forEachRemaining(attribute -> {
            JsonNode value = attribute.getValue();
            String type = value.fieldNames().next();
            AttributeValue.Builder built = AttributeValue.builder();
            switch (type) {
                case "S": built.s(value.get(type).asText()); break;
                case "N": built.n(value.get(type).asText()); break;
                case "B": built.b(SdkBytes.fromByteArray(Base64.getDecoder().decode(value.get(type).asText()))); break;
                case "SS":
                    List<String> texts = new ArrayList<>();
                    value.get(type).forEach(text -> texts.add(text.asText()));
                    built.ss(texts);
                    break;
                default: throw new IllegalArgumentException(type);
            }
            values.put(attribute.getKey(), built.build());
        });
        return values;
    }
}
