// A user of a link: offers numbered beats on every virtual channel and checks those that come. A beat is a function of
// channel and number, so that every loss, doubling, exchange and corruption is seen and told apart.

module link_traffic #(
    parameter WORD_BITS = 512,
    parameter CHANNELS = 2
) (
    input  wire                           clk,
    input  wire                           clear,      // begins with number 0, all counts zero
    input  wire [CHANNELS*32-1:0]         goal,       // beats to offer, per channel
    input  wire [7:0]                     offer_rate, // of 256 idle cycles, how many end with an offer; 255: all
    input  wire [7:0]                     take_rate,  // of 256 cycles, in how many a beat would be taken; 255: all
    output reg  [CHANNELS-1:0]            i_valid,
    input  wire [CHANNELS-1:0]            i_ready,
    output wire [CHANNELS*WORD_BITS-1:0]  i_payload,
    input  wire [CHANNELS-1:0]            o_valid,
    output reg  [CHANNELS-1:0]            o_ready,
    input  wire [CHANNELS*WORD_BITS-1:0]  o_payload,
    output reg  [CHANNELS*32-1:0]         sent,
    output reg  [CHANNELS*32-1:0]         received,   // beats that were the expected ones
    output reg  [31:0]                    lost,
    output reg  [31:0]                    doubled,    // or came too late
    output reg  [31:0]                    corrupt
);
    function [WORD_BITS-1:0] beat(input [7:0] channel, input [31:0] number);
        integer u;
        reg [63:0] x;
        begin
            for (u = 0; u < WORD_BITS / 64; u = u + 1) begin
                x = {number, channel, u[7:0], 16'h5EED} * 64'h9E3779B97F4A7C15;
                x = x ^ (x >> 29);
                beat[u*64 +: 64] = x * 64'hBF58476D1CE4E5B9;
            end
            beat[31:0] = number;
        end
    endfunction

    reg [31:0] random;
    wire [31:0] shuffled = random * 32'd1664525 + 32'd1013904223;
    initial begin
        random = 1;
        i_valid = 0;
        o_ready = 0;
        sent = 0;
        received = 0;
        lost = 0;
        doubled = 0;
        corrupt = 0;
    end

    reg [31:0] following [0:CHANNELS-1];  // number of the next beat that is expected
    reg [31:0] offered [0:CHANNELS-1];
    reg [WORD_BITS-1:0] shown [0:CHANNELS-1];
    genvar c;
    generate
        for (c = 0; c < CHANNELS; c = c + 1) begin : channels
            assign i_payload[c*WORD_BITS +: WORD_BITS] = shown[c];
            initial begin
                following[c] = 0;
                offered[c] = 0;
                shown[c] = 0;
            end
        end
    endgenerate

    integer v;
    reg [WORD_BITS-1:0] came;
    always @(posedge clk) begin
        random <= shuffled;
        for (v = 0; v < CHANNELS; v = v + 1) begin
            if (i_valid[v] && i_ready[v])
                sent[v*32 +: 32] <= sent[v*32 +: 32] + 1;
            if (!i_valid[v] || i_ready[v]) begin
                i_valid[v] <= 0;
                if (offered[v] != goal[v*32 +: 32] && (offer_rate == 255 || shuffled[8 + 5*v +: 8] < offer_rate)) begin
                    i_valid[v] <= 1;
                    shown[v] <= beat(v[7:0], offered[v]);
                    offered[v] <= offered[v] + 1;
                end
            end
            o_ready[v] <= take_rate == 255 || shuffled[10 + 4*v +: 8] < take_rate;
            if (o_valid[v] && o_ready[v]) begin
                came = o_payload[v*WORD_BITS +: WORD_BITS];
                if (came === beat(v[7:0], following[v])) begin
                    received[v*32 +: 32] <= received[v*32 +: 32] + 1;
                    following[v] <= following[v] + 1;
                end else if (came !== beat(v[7:0], came[31:0]))
                    corrupt <= corrupt + 1;
                else if (came[31:0] < following[v])
                    doubled <= doubled + 1;
                else begin
                    lost <= lost + came[31:0] - following[v];
                    following[v] <= came[31:0] + 1;
                end
            end
            if (clear) begin
                i_valid[v] <= 0;
                offered[v] <= 0;
                following[v] <= 0;
                sent[v*32 +: 32] <= 0;
                received[v*32 +: 32] <= 0;
            end
        end
        if (clear) begin
            lost <= 0;
            doubled <= 0;
            corrupt <= 0;
        end
    end
endmodule
